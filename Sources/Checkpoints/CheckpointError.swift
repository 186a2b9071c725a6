internal import JSON

/// A checkpoint cannot be used: names file and tensor, what was found, what was expected, and the remedy.
public struct CheckpointError: Error, Sendable, CustomStringConvertible {
    /// The whole message, on one line.
    public let description: String

    /// A message in full.
    public init(_ description: String) { self.description = description }

    /// "FILE: tensor "NAME": found …, expected …".
    package init(_ file: String, tensor: String? = nil, found: String, expected: String) {
        let subject = tensor.map { ": tensor \(shown($0))" } ?? ""
        self.init("\(file)\(subject): found \(found), expected \(expected)")
    }

    /// "FILE: field "NAME": found …, expected …".
    package init(_ file: String, field: String, found: String, expected: String) {
        self.init("\(file): field \(shown(field)): found \(found), expected \(expected)")
    }
}

/// A text from a file as it may stand in a message: in quotes, control characters escaped, not longer than a line.
func shown(_ text: String) -> String {
    let scalars = text.unicodeScalars
    let start = scalars.prefix(120)
    let cut = start.endIndex == scalars.endIndex ? "" : "…"
    return JSONValue.string(String(start) + cut).serialized
}

/// A value from a file as it may stand in a message.
func shown(_ value: JSONValue?) -> String {
    switch value {
    case nil: "nothing"
    case .string(let text): shown(text)
    case .number(let number): number.text.count <= 40 ? number.text : "a number of \(number.text.utf8.count) digits"
    case .bool(let truth): truth ? "true" : "false"
    case .some(let other): other.kind
    }
}
