import Cluster
import TestSupport
import Testing

@Suite struct ZAPTests {
    private let key = [UInt8](0..<32)

    private func frames(_ change: (inout [[UInt8]]) -> Void = { _ in }) -> [[UInt8]] {
        var frames = ["1.0", "1", "shoal", "127.0.0.1", "", "CURVE"].map { Array($0.utf8) } + [key]
        change(&frames)
        return frames
    }

    @Test("a question about a key is understood, and answered in libzmq's terms")
    func request() throws {
        let request = try #require(ZAPRequest(frames()))
        #expect(request.address == "127.0.0.1")
        #expect(
            request.reply(admitted: true).map { String(decoding: $0, as: UTF8.self) }
                == ["1.0", "1", "200", "", request.key.description, ""])
        #expect(request.reply(admitted: false)[2] == Array("400".utf8))
        #expect(request.reply(admitted: false)[4].isEmpty, "who is turned away is nobody")
    }

    @Test(
        "any other mechanism, version, domain, size or number of frames is no question that could be answered with yes")
    func others() {
        let changes: [(inout [[UInt8]]) -> Void] = [
            { $0[0] = Array("2.0".utf8) }, { $0[2] = [] }, { $0[5] = Array("NULL".utf8) },
            { $0[5] = Array("PLAIN".utf8) }, { $0[6].removeLast() }, { $0[6].append(0) }, { $0.removeLast() },
            { $0.append([]) }, { $0 = [] }, { $0[1] = [UInt8](repeating: 1, count: 256) },
            { $0[3] = [UInt8](repeating: 1, count: 256) },
        ]
        for change in changes {
            let frames = frames(change)
            #expect(ZAPRequest(frames) == nil)
            let reply = ZAPRequest.refusal(of: frames)
            #expect(reply.count == 6 && reply[2] == Array("400".utf8) && reply[4].isEmpty)
        }
    }
}
