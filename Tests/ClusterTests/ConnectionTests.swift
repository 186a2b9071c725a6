import Cluster
import Foundation
import Testing
import Transformer

/// TCP connections that break, and such over which nothing is said.
@Suite(.serialized) struct ConnectionTests {
    /// This process's ends of connections that were made to a port.
    private func accepted(at endpoint: Endpoint) throws -> [Int32] {
        let port = try #require(UInt16(endpoint.description.split(separator: ":").last ?? ""))
        return (0..<4096).filter { descriptor in
            var address = sockaddr_in()
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
            }
            return result == 0 && Int32(address.sin_family) == AF_INET && UInt16(bigEndian: address.sin_port) == port
                && option(SOL_SOCKET, SO_ACCEPTCONN, of: descriptor) == 0
        }
    }

    private func option(_ level: Int32, _ name: Int32, of descriptor: Int32) -> Int32? {
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, level, name, &value, &size) == 0 ? value : nil
    }

    @Test("a worker whose data connection alone breaks joins anew, under another identity")
    func dataConnectionBreaks() throws {
        let coordinator = try HandDrivenCoordinator()
        let worker = try RunningWorker(joining: [CoordinatorAddress(coordinator.endpoint)])
        defer { worker.stop() }
        let (before, _) = try coordinator.takeIn()
        try coordinator.assign(0..<4, to: before)
        #expect(try coordinator.nextWord() == .ready(epoch: 1))
        let connections = try accepted(at: coordinator.dataEndpoint)
        #expect(connections.count == 1)
        for connection in connections { shutdown(connection, Int32(SHUT_RDWR)) }
        let (after, _) = try coordinator.takeIn()
        #expect(after != before && after.prefix(8) == before.prefix(8), "the same worker")
        try coordinator.assign(0..<4, to: after)
        #expect(try coordinator.nextWord() == .ready(epoch: 1))
    }

    @Test("idle connections are kept alive, so that no firewall forgets them")
    func keepAlive() async throws {
        let cluster = try TestCluster(.int8, workers: 1)
        try await cluster.ready(workers: 1)
        let connections = try accepted(at: cluster.coordinator.endpoint)
        #expect(connections.count == 1)
        #expect(connections.allSatisfy { option(SOL_SOCKET, SO_KEEPALIVE, of: $0) == 1 })
    }

    /// libzmq aborts the process where it has taken a socket's queue away between two frames of a message.
    @Test("a coordinator may end at any moment of a message that its worker receives")
    func endsWithinMessage() throws {
        let id = WorkerID()
        let worker = try RawSocket(.dealer, in: ZMQContext(), id: id)
        try worker.socket.limit(frameBytes: 1024, queue: 0)
        var endpoint = try Endpoint("tcp://127.0.0.1:0")
        for life in 0..<60 {
            let coordinator = try RawSocket(.router, in: ZMQContext())
            try coordinator.socket.bind(endpoint)
            if life == 0 {
                endpoint = try coordinator.socket.boundEndpoint()
                try worker.socket.connect(endpoint)
            }
            let frames = Array(repeating: [UInt8](repeating: 1, count: 512), count: 6)
            for _ in 0..<200 { try coordinator.send([id.withUnsafeBytes(Array.init)] + frames) }
            var received = 0
            let most = 20 + 3 * life
            while received < most, let frames = try worker.receive() {
                #expect(frames.count == 6)
                received += 1
            }
            #expect(received == most)
            withExtendedLifetime(coordinator) {}
        }
    }
}
