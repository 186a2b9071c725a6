internal import JSON

/// Reads fields of one JSON object within bounds, and names file and field in every refusal.
struct ConfigFields {
    let file: String
    private let object: JSONObject
    private let prefix: String

    init(_ value: JSONValue, file: String) throws {
        guard let object = value.object else {
            throw CheckpointError(file, found: value.kind, expected: "an object")
        }
        self.init(object, file: file, prefix: "")
    }

    private init(_ object: JSONObject, file: String, prefix: String) {
        self.object = object
        self.file = file
        self.prefix = prefix
    }

    /// The field's value; nil where it is absent or `null`.
    subscript(field: String) -> JSONValue? {
        guard let value = object[field], !value.isNull else { return nil }
        return value
    }

    func refusal(_ field: String, expected: String) -> CheckpointError {
        CheckpointError(file, field: prefix + field, found: shown(self[field]), expected: expected)
    }

    func section(_ field: String) throws -> ConfigFields? {
        guard let value = self[field] else { return nil }
        guard let object = value.object else { throw refusal(field, expected: "an object") }
        return ConfigFields(object, file: file, prefix: prefix + field + ".")
    }

    func integer(_ field: String, in bounds: ClosedRange<Int>) throws -> Int {
        guard let value = self[field]?.integer, bounds.contains(value) else {
            throw refusal(field, expected: "a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }

    func real(_ field: String, in bounds: ClosedRange<Double>, default fallback: Double? = nil) throws -> Double {
        if let fallback, self[field] == nil { return fallback }
        guard let value = self[field]?.double, bounds.contains(value) else {
            throw refusal(field, expected: "a number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }

    func truth(_ field: String, default fallback: Bool) throws -> Bool {
        guard let value = self[field] else { return fallback }
        guard let truth = value.bool else { throw refusal(field, expected: "true or false") }
        return truth
    }

    /// Refuses any value of the field but this one.
    func require(_ field: String, is expected: JSONValue, orAbsent: Bool = true) throws {
        if orAbsent, self[field] == nil { return }
        guard self[field] == expected else { throw refusal(field, expected: shown(expected)) }
    }
}
