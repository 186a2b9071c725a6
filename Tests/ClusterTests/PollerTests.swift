import Cluster
import Foundation
import TestSupport
import Testing

@Suite struct PollerTests {
    private let context: ZMQContext
    private let receiver: ZMQSocket, sender: ZMQSocket

    init() throws {
        context = try ZMQContext()
        receiver = try ZMQSocket(.dealer, in: context)
        try receiver.bind(Endpoint("tcp://127.0.0.1:0"))
        sender = try ZMQSocket(.dealer, in: context)
        try sender.connect(try receiver.boundEndpoint())
    }

    @Test("a message that comes while the thread is awake is noticed then")
    func awake() throws {
        let thread = Thread { [sender] in
            usleep(20_000)
            _ = try? [7].withUnsafeBytes { try sender.send($0, more: false) }
        }
        thread.start()
        var poller = ZMQPoller([receiver])
        #expect(try poller.wait(milliseconds: 0, awake: .seconds(30)))
        #expect(try receiver.receive(ZMQMessage()))
    }

    @Test("a thread that was awake in vain sleeps, and costs nothing")
    func asleep() throws {
        var poller = ZMQPoller([receiver])
        var hasCome = true
        let begin = ContinuousClock.now
        let time = try threadTime { hasCome = try poller.wait(milliseconds: 400, awake: .milliseconds(1)) }
        #expect(!hasCome)
        #expect(begin.duration(to: .now) >= .milliseconds(400))
        #expect(time < .milliseconds(100))
    }
}
