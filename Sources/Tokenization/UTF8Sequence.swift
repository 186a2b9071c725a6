/// A part of a text that lies in memory for the time of a call.
package typealias TextBytes = Slice<UnsafeBufferPointer<UInt8>>

/// How UTF-8 groups bytes into code points (Unicode 16.0, table 3-7).
enum UTF8Sequence {
    /// How many bytes the code point has whose first byte this is, in valid UTF-8.
    static func length(lead: UInt8) -> Int {
        switch lead {
        case ..<0xC0: 1
        case ..<0xE0: 2
        case ..<0xF0: 3
        default: 4
        }
    }

    /// How many bytes at the end are the beginning of a code point that later bytes can complete: 0 to 3.
    static func incompleteSuffix(of bytes: [UInt8]) -> Int {
        for count in 1...3 where count <= bytes.count {
            let lead = bytes[bytes.count - count]
            if lead & 0xC0 == 0x80 { continue }
            guard (0xC2...0xF4).contains(lead), length(lead: lead) > count else { return 0 }
            if count > 1, !secondByte(after: lead).contains(bytes[bytes.count - count + 1]) { return 0 }
            return count
        }
        return 0
    }

    /// The range that excludes overlong forms, surrogates, and what lies beyond U+10FFFF.
    private static func secondByte(after lead: UInt8) -> ClosedRange<UInt8> {
        switch lead {
        case 0xE0: 0xA0...0xBF
        case 0xED: 0x80...0x9F
        case 0xF0: 0x90...0xBF
        case 0xF4: 0x80...0x8F
        default: 0x80...0xBF
        }
    }
}
