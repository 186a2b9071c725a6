/// GPT-2's alphabet, in which `tokenizer.json` writes bytes as printable characters: a byte that is a printable
/// Latin-1 character stands for itself, the others for U+0100, U+0101, … in order.
enum ByteAlphabet {
    /// By byte.
    private static let characters: [Unicode.Scalar] = {
        var others = (0x100...0x1FF).lazy.compactMap { Unicode.Scalar($0) }.makeIterator()
        return (UInt8.min...UInt8.max).map { byte in
            let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
            return isPrintable ? Unicode.Scalar(byte) : others.next() ?? Unicode.Scalar(byte)
        }
    }()

    /// By code point: the byte, or -1.
    private static let bytes: [Int16] = {
        var bytes = [Int16](repeating: -1, count: 0x200)
        for (byte, character) in characters.enumerated() { bytes[Int(character.value)] = Int16(byte) }
        return bytes
    }()

    /// Appends the bytes a word stands for; false where a character is not of the alphabet.
    static func append(_ word: String, to output: inout [UInt8]) -> Bool {
        for scalar in word.unicodeScalars {
            guard scalar.value < bytes.count, let byte = UInt8(exactly: bytes[Int(scalar.value)]) else { return false }
            output.append(byte)
        }
        return true
    }

    /// The word that stands for bytes.
    static func word(for bytes: [UInt8]) -> String {
        String(String.UnicodeScalarView(bytes.map { characters[Int($0)] }))
    }
}
