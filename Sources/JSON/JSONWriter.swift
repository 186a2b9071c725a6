extension JSONValue {
    /// The value as UTF-8 text without white space, members in order. Non-ASCII characters are written as they are.
    public var serialized: String {
        var output = ""
        write(to: &output, indent: nil)
        return output
    }

    /// The value as text with one member or element a line, indented by two spaces a level.
    public var prettySerialized: String {
        var output = ""
        write(to: &output, indent: 0)
        return output
    }

    private func write(to output: inout String, indent: Int?) {
        switch self {
        case .null: output += "null"
        case .bool(let value): output += value ? "true" : "false"
        case .number(let value): output += value.text
        case .string(let value): Self.write(value, to: &output)
        case .array(let elements):
            Self.write(elements, open: "[", close: "]", to: &output, indent: indent) { element, output, indent in
                element.write(to: &output, indent: indent)
            }
        case .object(let object):
            Self.write(object.members, open: "{", close: "}", to: &output, indent: indent) { member, output, indent in
                Self.write(member.name, to: &output)
                output += indent == nil ? ":" : ": "
                member.value.write(to: &output, indent: indent)
            }
        }
    }

    private static func write<Item>(
        _ items: [Item], open: String, close: String, to output: inout String, indent: Int?,
        item: (Item, inout String, Int?) -> Void
    ) {
        output += open
        for (index, element) in items.enumerated() {
            if index > 0 { output += "," }
            if let indent { output += "\n" + String(repeating: "  ", count: indent + 1) }
            item(element, &output, indent.map { $0 + 1 })
        }
        if let indent, !items.isEmpty { output += "\n" + String(repeating: "  ", count: indent) }
        output += close
    }

    /// Appends a string in quotes, with the escapes that JSON demands and no others.
    private static func write(_ string: String, to output: inout String) {
        output += "\""
        var plain = string.utf8.startIndex
        for index in string.utf8.indices {
            let byte = string.utf8[index]
            guard byte < 0x20 || byte == 0x22 || byte == 0x5C else { continue }
            output += string[plain..<index]
            plain = string.utf8.index(after: index)
            switch byte {
            case 0x22: output += "\\\""
            case 0x5C: output += "\\\\"
            case 0x0A: output += "\\n"
            case 0x0D: output += "\\r"
            case 0x09: output += "\\t"
            case 0x08: output += "\\b"
            case 0x0C: output += "\\f"
            default: output += "\\u00" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        output += string[plain...]
        output += "\""
    }
}
