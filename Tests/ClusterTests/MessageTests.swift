import Cluster
import Testing

/// Frames whose bytes lie elsewhere.
@Suite struct MessageTests {
    private final class Owner: @unchecked Sendable {  // Nobody writes there.
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 200_000, alignment: 64)
        init() { bytes.initializeMemory(as: UInt8.self, repeating: 7) }
        deinit { bytes.deallocate() }
    }

    /// Does not keep the owner.
    private final class Witness: @unchecked Sendable {
        weak var owner: Owner?
    }

    @Test("the owner of bytes that were referred to stays until they are sent, and no longer")
    func sent() async throws {
        let context = try ZMQContext()
        let receiver = try ZMQSocket(.dealer, in: context), sender = try ZMQSocket(.dealer, in: context)
        try receiver.bind(Endpoint("tcp://127.0.0.1:0"))
        let witness = Witness()
        let message = ZMQMessage()
        do {
            let owner = Owner()
            witness.owner = owner
            try message.refer(to: UnsafeRawBufferPointer(owner.bytes), of: owner)
        }
        #expect(try sender.send(message, more: false) == .wouldBlock, "not connected yet")
        #expect(witness.owner != nil)
        try sender.connect(try receiver.boundEndpoint())
        #expect(try sender.send(message, more: false) == .sent)
        var poller = ZMQPoller([receiver])
        #expect(try poller.wait(milliseconds: 30_000))
        let received = ZMQMessage()
        #expect(try receiver.receive(received))
        #expect(received.bytes.count == 200_000 && received.bytes.allSatisfy { $0 == 7 })
        // libzmq's thread lets go of it.
        try await withDeadline { while witness.owner != nil { try await Task.sleep(for: .milliseconds(1)) } }
    }

    @Test("the owner goes when its bytes are replaced unsent, or with the message")
    func unsent() throws {
        weak var first: Owner?
        weak var second: Owner?
        do {
            let message = ZMQMessage()
            do {
                let (one, two) = (Owner(), Owner())
                (first, second) = (one, two)
                try message.refer(to: UnsafeRawBufferPointer(one.bytes), of: one)
                try message.refer(to: UnsafeRawBufferPointer(two.bytes), of: two)
            }
            #expect(first == nil)
            #expect(second != nil)
            withExtendedLifetime(message) {}
        }
        #expect(second == nil)
    }
}
