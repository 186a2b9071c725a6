/// What the o200k pattern tells apart: general categories, white space, and U+017F, which `(?i:'s)` matches too.
///
/// A text is classified into symbols, one byte for each code point: ASCII stands for itself, and everything else for
/// its class, by these values.
package enum CodePointClass: UInt8, CaseIterable {
    case uppercaseLetter = 0x80
    case titlecaseLetter
    case lowercaseLetter
    case longS
    case modifierLetter
    case otherLetter
    case mark
    case number
    case whiteSpace
    case other

    /// The class's letter in the table's text.
    var letter: Character {
        switch self {
        case .uppercaseLetter: "U"
        case .titlecaseLetter: "T"
        case .lowercaseLetter: "L"
        case .longS: "F"
        case .modifierLetter: "K"
        case .otherLetter: "O"
        case .mark: "M"
        case .number: "N"
        case .whiteSpace: "S"
        case .other: "X"
        }
    }
}

/// The symbol of every code point, after Unicode 16.0: the version is part of the tokenizer, so it cannot be the
/// platform's.
package struct CodePointClasses: Sendable {
    package static let unicode16 = CodePointClasses()

    /// By code point. A byte each is more than a trie would take, but only the pages in use are ever touched.
    private let symbols: [UInt8]

    private init() {
        var symbols = Array(0..<UInt8(0x80))
        symbols.reserveCapacity(0x110000)
        var remaining = Self.runs.utf8[...]
        while let letter = remaining.popFirst() {
            var count = 0
            while let digit = remaining.first, digit <= UInt8(ascii: "9") {
                count = count * 10 + Int(digit - UInt8(ascii: "0"))
                remaining.removeFirst()
            }
            let symbol = CodePointClass.allCases.first { $0.letter.asciiValue == letter } ?? .other
            symbols.append(contentsOf: repeatElement(symbol.rawValue, count: max(count, 1)))
        }
        self.symbols = symbols
    }

    package subscript(codePoint: UInt32) -> UInt8 { symbols[Int(codePoint)] }

    /// The symbols of valid UTF-8, one for each code point.
    func symbols(of text: TextBytes) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: text.count) { output, count in
            var remaining = text
            while let lead = remaining.popFirst() {
                if lead < 0x80 {
                    output[count] = lead
                } else {
                    let continuations = UTF8Sequence.length(lead: lead) - 1
                    var code = UInt32(lead) & 0x3F >> UInt32(continuations)
                    for byte in remaining.prefix(continuations) { code = code << 6 | UInt32(byte & 0x3F) }
                    remaining = remaining.dropFirst(continuations)
                    output[count] = self[code]
                }
                count += 1
            }
        }
    }
}
