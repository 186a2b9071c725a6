/// Why a text is not the JSON that was expected.
public struct JSONError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong, in words.
    public let problem: String
    /// Where: a byte offset into the text.
    public let offset: Int

    /// "… at byte 17".
    public var description: String { "invalid JSON: \(problem) at byte \(offset)" }
}

extension JSONValue {
    /// Reads exactly one value from UTF-8 text, strictly after RFC 8259: no comments, no trailing commas, no duplicate
    /// names, no unpaired surrogates.
    ///
    /// Time is linear in the text; nesting beyond `maximumDepth` is refused, so the stack is bounded.
    /// - Throws: ``JSONError``.
    public init(parsing text: some Sequence<UInt8>, maximumDepth: Int = 128) throws {
        let result: Result<JSONValue, JSONError>? = text.withContiguousStorageIfAvailable { bytes in
            Result { () throws(JSONError) in try JSONValue(bytes: bytes, maximumDepth: maximumDepth) }
        }
        self =
            try result?.get()
            ?? Array(text).withUnsafeBufferPointer { try JSONValue(bytes: $0, maximumDepth: maximumDepth) }
    }

    /// Reads exactly one value from a string.
    /// - Throws: ``JSONError``.
    public init(parsing text: String, maximumDepth: Int = 128) throws {
        try self.init(parsing: text.utf8, maximumDepth: maximumDepth)
    }

    private init(bytes: UnsafeBufferPointer<UInt8>, maximumDepth: Int) throws(JSONError) {
        var parser = Parser(bytes: bytes, maximumDepth: maximumDepth)
        self = try parser.value(depth: 0)
        parser.skipWhitespace()
        guard parser.position == bytes.count else { throw parser.error("text after the value") }
    }
}

/// A recursive-descent parser over bytes that outlive it.
private struct Parser {
    let bytes: UnsafeBufferPointer<UInt8>
    let maximumDepth: Int
    var position = 0

    init(bytes: UnsafeBufferPointer<UInt8>, maximumDepth: Int) {
        self.bytes = bytes
        self.maximumDepth = maximumDepth
    }

    func error(_ problem: String) -> JSONError { JSONError(problem: problem, offset: position) }

    /// The next byte, or 0 at the end (a zero byte is never valid outside a string).
    var next: UInt8 { position < bytes.count ? bytes[position] : 0 }

    mutating func skipWhitespace() {
        while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) { position += 1 }
    }

    mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= maximumDepth else { throw error("nesting deeper than \(maximumDepth)") }
        skipWhitespace()
        switch next {
        case UInt8(ascii: "{"): return .object(try object(depth: depth))
        case UInt8(ascii: "["): return .array(try array(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        default: throw error(position < bytes.count ? "unexpected character" : "unexpected end")
        }
    }

    mutating func literal(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let length = text.utf8CodeUnitCount
        guard bytes.count - position >= length,
            (0..<length).allSatisfy({ bytes[position + $0] == text.utf8Start[$0] })
        else { throw error("unexpected word, expected \(text)") }
        position += length
        return value
    }

    /// After an element: true to go on after a comma, false when the closing bracket was taken.
    mutating func continues(until closing: UInt8) throws(JSONError) -> Bool {
        skipWhitespace()
        guard next == closing || next == UInt8(ascii: ",") else {
            throw error("expected ',' or '\(Character(UnicodeScalar(closing)))'")
        }
        position += 1
        return bytes[position - 1] != closing
    }

    mutating func array(depth: Int) throws(JSONError) -> [JSONValue] {
        position += 1
        skipWhitespace()
        var elements: [JSONValue] = []
        if next == UInt8(ascii: "]") {
            position += 1
            return elements
        }
        repeat { elements.append(try value(depth: depth + 1)) } while try continues(until: UInt8(ascii: "]"))
        return elements
    }

    mutating func object(depth: Int) throws(JSONError) -> JSONObject {
        position += 1
        skipWhitespace()
        var members: [JSONObject.Member] = []
        var names = UniqueNames()
        if next == UInt8(ascii: "}") {
            position += 1
            return JSONObject()
        }
        repeat {
            skipWhitespace()
            guard next == UInt8(ascii: "\"") else { throw error("expected a member's name in quotes") }
            let name = try string()
            guard names.insert(name, after: members) else { throw error("duplicate name '\(name.prefix(100))'") }
            skipWhitespace()
            guard next == UInt8(ascii: ":") else { throw error("expected ':' after a member's name") }
            position += 1
            members.append(JSONObject.Member(name: name, value: try value(depth: depth + 1)))
        } while try continues(until: UInt8(ascii: "}"))
        return JSONObject(members)
    }

    mutating func digits() throws(JSONError) {
        let start = position
        while (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(next) { position += 1 }
        if position == start { throw error("expected a digit") }
    }

    mutating func number() throws(JSONError) -> JSONNumber {
        let start = position
        if next == UInt8(ascii: "-") { position += 1 }
        if next == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if next == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if next | 0x20 == UInt8(ascii: "e") {
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        return JSONNumber(text: String(decoding: bytes[start..<position], as: UTF8.self))
    }

    mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        while position < bytes.count, bytes[position] >= 0x20, bytes[position] != 0x22, bytes[position] != 0x5C {
            position += 1
        }
        if next == UInt8(ascii: "\"") {
            let slice = bytes[start..<position]
            position += 1
            return try validated(slice)
        }
        var unescaped = Array(bytes[start..<position])
        while true {
            guard position < bytes.count else { throw error("unterminated string") }
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                return try unescaped.withUnsafeBufferPointer { bytes throws(JSONError) in try validated(bytes[...]) }
            case UInt8(ascii: "\\"): try escape(into: &unescaped)
            case ..<0x20: throw error("control character in a string")
            default: unescaped.append(byte)
            }
        }
    }

    func validated(_ slice: Slice<UnsafeBufferPointer<UInt8>>) throws(JSONError) -> String {
        guard let string = String(validating: slice, as: UTF8.self) else { throw error("string is not UTF-8") }
        return string
    }

    mutating func escape(into output: inout [UInt8]) throws(JSONError) {
        let byte = next
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): output.append(byte)
        case UInt8(ascii: "b"): output.append(0x08)
        case UInt8(ascii: "f"): output.append(0x0C)
        case UInt8(ascii: "n"): output.append(0x0A)
        case UInt8(ascii: "r"): output.append(0x0D)
        case UInt8(ascii: "t"): output.append(0x09)
        case UInt8(ascii: "u"):
            var code = try hexadecimal()
            if (0xD800..<0xDC00).contains(code), next == UInt8(ascii: "\\") {
                position += 1
                guard next == UInt8(ascii: "u") else { throw error("unpaired surrogate") }
                position += 1
                let low = try hexadecimal()
                guard (0xDC00..<0xE000).contains(low) else { throw error("unpaired surrogate") }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = UnicodeScalar(code) else { throw error("unpaired surrogate") }
            output.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
        default: throw error("unknown escape")
        }
    }

    mutating func hexadecimal() throws(JSONError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = Character(UnicodeScalar(next)).hexDigitValue, next < 0x80 else {
                throw error("expected four hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            position += 1
        }
        return code
    }
}

/// Notices a repeated name: by scanning while there are few, by hashing bytes once there are many.
private struct UniqueNames {
    private struct Bytes: Hashable {
        let name: String
        static func == (a: Self, b: Self) -> Bool { a.name.utf8.elementsEqual(b.name.utf8) }
        func hash(into hasher: inout Hasher) {
            var name = name
            name.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
    }

    private var hashed: Set<Bytes> = []

    mutating func insert(_ name: String, after members: [JSONObject.Member]) -> Bool {
        if members.count < 16 { return !members.contains { $0.name.utf8.elementsEqual(name.utf8) } }
        if hashed.isEmpty { hashed = Set(members.map { Bytes(name: $0.name) }) }
        return hashed.insert(Bytes(name: name)).inserted
    }
}
