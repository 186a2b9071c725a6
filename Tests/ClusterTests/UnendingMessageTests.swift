import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// libzmq keeps the frames of a message until its last one is there, however many they are.
@Suite(.serialized) struct UnendingMessageTests {
    /// A peer that speaks ZMTP 3.0 by hand (RFC 23), so that it can begin messages and not end them.
    private final class HandmadePeer {
        private let descriptor: Int32

        init(_ endpoint: Endpoint) throws {
            let port = try #require(UInt16(endpoint.description.split(separator: ":").last ?? ""))
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            try #require(result == 0)
            var patience = timeval(tv_sec: 20, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
            }
            var greeting = [UInt8](repeating: 0, count: 64)
            (greeting[0], greeting[9], greeting[10]) = (0xFF, 0x7F, 3)
            greeting.replaceSubrange(12..<16, with: "NULL".utf8)
            try #require(send(greeting) && receive(greeting.count))
            let ready =
                [5] + Array("READY".utf8) + [11] + Array("Socket-Type".utf8) + [0, 0, 0, 6] + Array("DEALER".utf8)
            try #require(send([4, UInt8(ready.count)] + ready) && receive(2))
        }

        deinit { close(descriptor) }

        private func receive(_ count: Int) -> Bool {
            var bytes = [UInt8](repeating: 0, count: count)
            return recv(descriptor, &bytes, count, Int32(MSG_WAITALL)) == count
        }

        /// False when the connection is cut.
        func send(_ bytes: [UInt8]) -> Bool {
            // The descriptor is closed with this object, which nobody else may hold.
            defer { withExtendedLifetime(self) {} }
            var sent = 0
            while sent < bytes.count {
                let count = bytes.withUnsafeBytes {
                    Foundation.send(
                        descriptor, $0.baseAddress?.advanced(by: sent), bytes.count - sent, Int32(MSG_NOSIGNAL)
                    )
                }
                guard count > 0 else { return false }
                sent += count
            }
            return true
        }

        /// Frames of 200 bytes, each of which is followed by more. Returns how many bytes went before the connection was cut.
        func sendFrames(upTo limit: Int, meanwhile: () -> Void = {}) -> Int {
            let frames = Array(repeating: [1, 200] + [UInt8](repeating: 7, count: 200), count: 1000).flatMap { $0 }
            defer { withExtendedLifetime(self) {} }
            var sent = 0
            while sent < limit, send(frames) {
                sent += frames.count
                meanwhile()
            }
            return sent
        }
    }

    @Test("only the connection whose message does not end is cut")
    func onlyTheUnending() throws {
        let context = try ZMQContext()
        let socket = try ZMQSocket(.router, in: context)
        let watch = try UnendingMessages(socket, limit: 4 << 20) { try $0.bind(Endpoint("tcp://127.0.0.1:0")) }
        let message = ZMQMessage()
        var cuts = 0
        func look() throws {
            while try watch.monitor.next() != nil {}
            cuts += watch.cut()
        }

        let honest = try RawSocket(.dealer, in: context)
        try honest.socket.connect(try socket.boundEndpoint())
        for _ in 0..<40 {
            try honest.send([[UInt8](repeating: 1, count: 500_000)])
            try eventuallyHolds { try socket.receive(message) }
            try socket.discardRest(message)
            try look()
        }
        #expect(cuts == 0, "all of it was taken")

        let endless = try HandmadePeer(try socket.boundEndpoint())
        let sent = endless.sendFrames(upTo: 400 << 20) { #expect(throws: Never.self) { try look() } }
        #expect(cuts == 1)
        #expect(sent >= 4 << 20 && sent < 400 << 20)
        #expect(try !socket.receive(message), "nothing of it came")

        try honest.send([[5]])
        try eventuallyHolds { try socket.receive(message) }
    }

    private func eventuallyHolds(_ condition: () throws -> Bool) throws {
        let deadline = ContinuousClock.now + .seconds(10)
        while try !condition() {
            guard ContinuousClock.now < deadline else { throw TimeoutError() }
            usleep(1000)
        }
    }

    @Test(
        "whichever port it comes to, a message without end fills no memory, and the cluster goes on",
        arguments: [false, true])
    func cluster(toDataPort: Bool) async throws {
        let cluster = try TestCluster(.int8, workers: 1)
        try await cluster.ready(workers: 1)
        let raw = try RawWorker(joining: cluster.coordinator.endpoint, isReady: false)
        let endpoint = toDataPort ? raw.dataEndpoint : cluster.coordinator.endpoint
        let sent = try HandmadePeer(endpoint).sendFrames(upTo: 4 << 30)
        #expect(sent >= UnendingMessages.allowance && sent < 4 << 30)
        try await eventually("it is counted") {
            cluster.coordinator.status.dropped[DropCause.unendingMessage.rawValue] == 1
        }
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
        withExtendedLifetime(raw) {}
    }
}
