import JSON

extension JSONValue {
    /// A JSON schema as the TypeScript type that gpt-oss was trained to read.
    ///
    /// The layout, oddities included, is that of OpenAI's Harmony library: the model knows no other. What a schema says
    /// beyond it (`anyOf`, `$ref`, …) becomes `any`. Descriptions and defaults become comments.
    func typeScript(indent: String) -> String {
        if let variants = self["oneOf"]?.array {
            return variants.map { variant in
                let comments = [variant.text("description"), variant.defaultComment(quotingEnums: true)]
                return "\n\(indent) | \(variant.nullableTypeScript(indent: indent + "   "))\(trailing(comments))"
            }.joined()
        }
        if let names = self["type"]?.array {
            let names = names.compactMap(\.string).map { $0 == "integer" ? "number" : $0 }
            return names.isEmpty ? "any" : names.joined(separator: " | ")
        }
        switch self["type"]?.string {
        case "object": return objectTypeScript(indent: indent)
        case "string":
            let cases = self["enum"]?.array?.compactMap(\.string).map { "\"\($0)\"" } ?? []
            return cases.isEmpty ? "string" : cases.joined(separator: " | ")
        case "number", "integer": return "number"
        case "boolean": return "boolean"
        case "array": return self["items"].map { "\($0.typeScript(indent: indent))[]" } ?? "Array<any>"
        default: return "any"
        }
    }

    private func nullableTypeScript(indent: String) -> String {
        let type = typeScript(indent: indent)
        let saysNull = type.utf8.firstRange(of: "null".utf8) != nil
        return self["nullable"] == true && !saysNull ? "\(type) | null" : type
    }

    private func objectTypeScript(indent: String) -> String {
        let required = self["required"]?.array?.compactMap(\.string) ?? []
        let requiredNames = Set(required.map { Array($0.utf8) })
        var output = text("description").map { "\(indent)// \($0)\n" } ?? ""
        output += "{\n"
        for member in self["properties"]?.object?.members ?? [] {
            let mark = requiredNames.contains(Array(member.name.utf8)) ? "" : "?"
            output += member.value.property(named: member.name + mark, indent: indent)
        }
        return output + "\(indent)}"
    }

    /// This schema as the line of a property, with the comment lines above it.
    private func property(named name: String, indent: String) -> String {
        var comments: [String] = []
        if let title = text("title") { comments += [" \(title)", ""] }
        if self["oneOf"] == nil, let description = text("description") { comments.append(" \(description)") }
        if let examples = self["examples"]?.array, !examples.isEmpty {
            comments.append(" Examples:")
            comments += examples.compactMap(\.string).map { " - \"\($0)\"" }
        }
        if let variants = self["oneOf"]?.array {
            return union(of: variants, named: name, comments: comments, indent: indent)
        }
        let type = nullableTypeScript(indent: indent + "    ")
        let comment = self["oneOf"] == nil ? defaultComment(quotingEnums: false) : nil
        return lines(comments, indent: indent) + "\(indent)\(name): \(type),\(trailing([comment]))\n"
    }

    /// A property that is one of several types. Its description stands above it, unless the first variant repeats it.
    private func union(of variants: [JSONValue], named name: String, comments: [String], indent: String) -> String {
        let description = text("description")
        let stands = description != nil && variants.first?.text("description") != description
        var comments = comments
        if let description, stands { comments.append(" \(description)") }
        if let comment = defaultComment(quotingEnums: false) { comments.append(" \(comment)") }
        var output = lines(comments, indent: indent) + "\(indent)\(name):\n"
        for (index, variant) in variants.enumerated() {
            let own = variant.text("description")
            let isSaid = own == description || (index == 0 && stands)
            let comments = trailing([isSaid ? nil : own, variant.defaultComment(quotingEnums: false)])
            output += "\(indent) | \(variant.nullableTypeScript(indent: indent + "   "))\(comments)\n"
        }
        return output + "\(indent),\n"
    }

    private func text(_ name: String) -> String? { self[name]?.string }

    /// "default: …", a string in quotes unless it is the case of an enum; JSON's escapes only where `quotingEnums`.
    private func defaultComment(quotingEnums: Bool) -> String? {
        guard let value = self["default"] else { return nil }
        guard let string = value.string else { return "default: \(value.canonical.serialized)" }
        guard self["enum"]?.array?.isEmpty == false else { return "default: \"\(string)\"" }
        return "default: \(quotingEnums ? value.serialized : string)"
    }

    private func lines(_ comments: [String], indent: String) -> String {
        comments.map { "\(indent)//\($0)\n" }.joined()
    }

    private func trailing(_ comments: [String?]) -> String {
        let comments = comments.compactMap { $0 }
        return comments.isEmpty ? "" : " // \(comments.joined(separator: " "))"
    }
}
