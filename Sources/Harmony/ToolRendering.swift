extension [ToolNamespace] {
    /// The section that describes tools, as TypeScript declarations, namespaces in the order of their names' bytes.
    var rendered: String {
        let namespaces = sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        return (["# Tools"] + namespaces.map(\.rendered)).joined(separator: "\n\n")
    }
}

extension ToolNamespace {
    fileprivate var rendered: String {
        var lines = ["## \(name)\n"]
        let descriptionLines = description.map(lines(of:)) ?? []
        // Without tools the description is all there is, so it is no comment.
        guard !tools.isEmpty else { return (lines + descriptionLines).joined(separator: "\n") }
        lines += descriptionLines.map { "// \($0)" }
        lines.append("namespace \(name) {\n")
        for tool in tools {
            lines += Harmony.lines(of: tool.description).map { "// \($0)" }
            let parameter = tool.parameters.map { "_: \($0.typeScript(indent: ""))" } ?? ""
            lines.append("type \(tool.name) = (\(parameter)) => any;\n")
        }
        lines.append("} // namespace \(name)")
        return lines.joined(separator: "\n")
    }
}

/// The lines of a text, without their ends (LF or CRLF); a final line end begins no further line.
private func lines(of text: String) -> [String] {
    var lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    let last = lines.popLast() ?? ""[...].utf8
    let ended = lines.map { $0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0 }
    return (last.isEmpty ? ended : ended + [last]).map { String(decoding: $0, as: UTF8.self) }
}
