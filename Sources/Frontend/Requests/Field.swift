import JSON

/// A value of a request together with its place there, so that whatever is wrong with it can be named.
package struct Field: Sendable {
    /// The way from the body to the value, such as `messages[2].content`.
    let path: String
    let value: JSONValue

    /// - Throws: ``APIError``, like every reader below.
    func string() throws -> String { try expect(value.string, "a string") }

    func bool() throws -> Bool { try expect(value.bool, "true or false") }

    func integer(in range: ClosedRange<Int>) throws -> Int {
        guard let number = try expect(value.number, "an integer").integer else {
            throw mismatch("an integer", found: numberText)
        }
        guard range.contains(number) else { throw outOfRange(Self.words(range)) }
        return number
    }

    func number(in range: ClosedRange<Double>) throws -> Double {
        guard let number = try expect(value.number, "a number").double, range.contains(number) else {
            throw outOfRange("between \(range.lowerBound) and \(range.upperBound)")
        }
        return number
    }

    func elements() throws -> [Field] {
        try expect(value.array, "an array").enumerated().map { Field(path: "\(path)[\($0)]", value: $1) }
    }

    func object() throws -> ObjectReader {
        ObjectReader(path: path, object: try expect(value.object, "an object"))
    }

    /// One of a few words.
    func word<Word: RawRepresentable & CaseIterable>(_: Word.Type = Word.self) throws -> Word
    where Word.RawValue == String {
        let text = try string()
        guard let word = Word(rawValue: text) else {
            let words = Word.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
            throw invalid("'\(text.prefix(100))' is not one of \(words)", code: "invalid_value")
        }
        return word
    }

    func invalid(_ problem: String, code: String? = nil) -> APIError {
        .invalid("Invalid '\(path)': \(problem).", param: path, code: code)
    }

    func mismatch(_ expected: String, found: String? = nil) -> APIError {
        invalid("expected \(expected), but got \(found ?? value.kind)", code: "invalid_type")
    }

    private func expect<Value>(_ found: Value?, _ expected: String) throws -> Value {
        guard let found else { throw mismatch(expected) }
        return found
    }

    private func outOfRange(_ range: String) -> APIError {
        invalid("\(numberText) is not \(range)", code: "invalid_value")
    }

    private var numberText: String { String((value.number?.text ?? "").prefix(40)) }

    private static func words(_ range: ClosedRange<Int>) -> String {
        range.upperBound == .max
            ? "at least \(range.lowerBound)" : "between \(range.lowerBound) and \(range.upperBound)"
    }
}
