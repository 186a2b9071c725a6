import Harmony
import JSON

extension Tool {
    /// Reads one element of `tools`.
    /// - Throws: ``APIError``.
    init(_ field: Field) throws {
        var reader = try field.object()
        let type = try reader.required("type")
        guard try type.string() == "function" else {
            throw type.invalid("only tools of type 'function' are supported", code: "unsupported_value")
        }
        var function = try reader.required("function").object()
        let nameField = try function.required("name")
        let name = try nameField.string()
        guard Self.isFunctionName(name) else {
            throw nameField.invalid(
                "expected 1 to 64 letters, digits, underscores and hyphens", code: "invalid_value")
        }
        let description = try function.field("description")?.string() ?? ""
        let parameters = function.field("parameters")
        _ = try parameters?.object()
        // A promise about the arguments' form that clients' helpers ask for as a matter of course; the model is shown the
        // same schema with and without it.
        _ = try function.field("strict")?.bool()
        try function.end()
        try reader.end()
        self.init(name: name, description: description, parameters: parameters?.value)
    }

    private static func isFunctionName(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }
}

/// The tools the model is told of, after `tools` and `tool_choice`.
struct ToolFields {
    var tools: [Tool] = []

    /// - Throws: ``APIError``.
    init(_ reader: inout ObjectReader) throws {
        tools = try reader.field("tools")?.elements().map { try Tool($0) } ?? []
        guard let choice = reader.field("tool_choice") else { return }
        switch choice.value {
        case "auto": break
        case "none": tools = []
        case "required", .object:
            throw choice.invalid(
                "forcing a tool call is not supported yet; use 'auto' or 'none'", code: "unsupported_value")
        default: throw choice.invalid("expected 'auto' or 'none'", code: "invalid_value")
        }
    }
}
