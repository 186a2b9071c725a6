import Frontend
import TestSupport
import Testing

@Suite("Stop strings")
struct StopStringsTests {
    @Test("text before a stop string is released, the beginning of one never")
    func holdsBack() {
        var stops = StopStrings(["STOP"])
        #expect(stops.append("abST") == "ab")
        #expect(stops.append("ST") == "ST")
        #expect(stops.append("OP, more") == "")
        #expect(stops.isStopped)
        #expect(stops.append("and more") == "")
        #expect(stops.finish() == "")
    }

    @Test("what was held back is released at the end")
    func finish() {
        var stops = StopStrings(["é!"])
        #expect(stops.append("caf") == "caf")
        #expect(stops.append("é") == "")
        #expect(stops.finish() == "é")
    }

    @Test("a stop string that does not count yet is text, and one that overlaps it still counts")
    func early() {
        var stops = StopStrings(["aba", "x"])
        #expect(stops.append("abab", mayStop: false) == "ab")
        #expect(!stops.isStopped)
        #expect(stops.append("a!") == "")
        #expect(stops.match == "aba")
    }

    @Test("any division of any text ends where the first stop string to be complete begins")
    func randomTexts() {
        var random = SeededGenerator(seed: 11)
        let letters = ["a", "b", "é", "è", "🙂"]
        func text(_ lengths: ClosedRange<Int>) -> String {
            (0..<Int.random(in: lengths, using: &random)).map { _ in letters.randomElement(using: &random) ?? "" }
                .joined()
        }
        for _ in 0..<20_000 {
            let patterns = (0..<Int.random(in: 0...3, using: &random)).map { _ in text(1...4) }
            let pieces = (0..<Int.random(in: 0...8, using: &random)).map { _ in text(0...4) }
            let whole = Array(pieces.joined().utf8)
            let end = (0...whole.count).lazy.compactMap { end in
                patterns.map { Array($0.utf8) }.first { whole[..<end].reversed().starts(with: $0.reversed()) }
                    .map { end - $0.count }
            }.first
            var stops = StopStrings(patterns)
            var output = pieces.map { stops.append($0) }.joined()
            #expect(stops.isStopped == (end != nil))
            output += stops.finish()
            #expect(Array(output.utf8) == Array(whole[..<(end ?? whole.count)]))
        }
    }
}
