import JSON

/// What a request may refer to.
package struct ServedModel: Sendable {
    /// The name that clients know the model by.
    package var name: String
    /// Token ids are below this.
    package var vocabularySize: Int

    package init(name: String, vocabularySize: Int) {
        self.name = name
        self.vocabularySize = vocabularySize
    }

    /// Reads `model`; a request without it means the one that is served.
    /// - Throws: ``APIError``.
    func check(_ reader: inout ObjectReader) throws {
        guard let asked = try reader.field("model")?.string(), asked != name else { return }
        throw APIError.unknownModel(asked, served: name)
    }

    /// Reads an array of token ids.
    /// - Throws: ``APIError``.
    func tokens(_ field: Field) throws -> [Int32] {
        guard let values = field.value.array else { throw field.mismatch("an array of token ids") }
        // Prompts are long: a path is made only for the element at fault.
        return try values.enumerated().map { index, value in
            if let token = value.integer, (0..<vocabularySize).contains(token), let token = Int32(exactly: token) {
                return token
            }
            let element = Field(path: "\(field.path)[\(index)]", value: value)
            _ = try element.integer(in: 0...max(0, vocabularySize - 1))
            throw element.mismatch("a token id")
        }
    }
}
