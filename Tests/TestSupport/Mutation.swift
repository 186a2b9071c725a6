extension [UInt8] {
    /// These bytes after one to four random changes: bits and bytes changed, runs removed or repeated elsewhere, one of
    /// `fragments` put in or in place of a run, the end cut off.
    public func mutated(with fragments: [[UInt8]] = [], using generator: inout SeededGenerator) -> [UInt8] {
        var bytes = self
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            let start = Int.random(in: 0...bytes.count, using: &generator)
            // A single byte is often what a text hangs on.
            let length = Bool.random(using: &generator) ? 1 : Int.random(in: 0...20, using: &generator)
            let run = start..<Swift.min(bytes.count, start + length)
            let fragment = fragments.randomElement(using: &generator) ?? []
            switch Int.random(in: 0..<8, using: &generator) {
            case 0 where !run.isEmpty: bytes[start] = .random(in: .min ... .max, using: &generator)
            case 1 where !run.isEmpty: bytes[start] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 2: bytes.removeSubrange(run)
            case 3: bytes.insert(contentsOf: bytes[run], at: .random(in: 0...bytes.count, using: &generator))
            case 4: bytes.replaceSubrange(run, with: fragment)
            case 5: bytes.insert(contentsOf: fragment, at: start)
            case 6 where start > bytes.count / 2: bytes.removeSubrange(start...)
            default: break
            }
        }
        return bytes
    }
}
