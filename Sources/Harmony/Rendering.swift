/// What a rendered conversation is made of. Text is only ever text: nobody can write a marker into it.
package enum RenderedPiece: Sendable, Equatable {
    case marker(Marker)
    case text(String)
}

/// A conversation cannot be rendered.
public struct RenderingError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The message, what was found in it, and what was expected.
    public let description: String
}

extension Conversation {
    /// The conversation in the order the model reads it.
    ///
    /// - Parameter droppingAnalysis: leave out the reasoning before the first final answer, provided the assistant's
    ///   latest message is a final answer: past reasoning is of no more use then.
    /// - Throws: ``RenderingError``.
    package func rendered(droppingAnalysis: Bool) throws(RenderingError) -> [RenderedPiece] {
        var pieces: [RenderedPiece] = []
        let firstKept = droppingAnalysis ? endOfStaleAnalysis : 0
        for (index, message) in messages.enumerated() {
            if index < firstKept, message.channel == Channel.analysis.rawValue { continue }
            do {
                try message.render(into: &pieces, hasFunctions: hasFunctions)
            } catch {
                throw RenderingError(description: "messages[\(index)]: \(error)")
            }
        }
        return pieces
    }

    private var endOfStaleAnalysis: Int {
        guard messages.last(where: { $0.role == .assistant })?.channel == Channel.final.rawValue else { return 0 }
        return messages.firstIndex { $0.channel == Channel.final.rawValue } ?? 0
    }

    private var hasFunctions: Bool {
        messages.lazy.flatMap(\.content).contains { content in
            guard case .developer(let developer) = content else { return false }
            return developer.tools.contains { $0.name == ToolNamespace.functions && !$0.tools.isEmpty }
        }
    }
}

extension Message {
    fileprivate func render(into pieces: inout [RenderedPiece], hasFunctions: Bool) throws(RenderingError) {
        pieces.append(.marker(.start))
        if role == .tool {
            guard let name else { throw RenderingError(description: "a tool's message has no name") }
            pieces.append(.text(name))
        } else {
            pieces.append(.text(role.rawValue))
            if let name { pieces.append(.text(":\(name)")) }
        }
        if let recipient, recipient != "all" { pieces.append(.text(" to=\(recipient)")) }
        if let channel { pieces += [.marker(.channel), .text(channel)] }
        if let contentType { pieces += Self.render(contentType: contentType) }
        pieces.append(.marker(.message))
        for part in content {
            switch part {
            case .text(let text):
                pieces.append(.text(text))
            case .system(let system):
                guard role == .system else { throw misplaced("system", role) }
                pieces.append(.text(system.rendered(hasFunctions: hasFunctions)))
            case .developer(let developer):
                guard role == .developer else { throw misplaced("developer", role) }
                pieces.append(.text(developer.rendered))
            }
        }
        pieces.append(.marker(role == .assistant && recipient != nil ? .call : .end))
    }

    /// A leading `<|constrain|>` is the one marker that a field of a message may contain.
    private static func render(contentType: String) -> [RenderedPiece] {
        let marker = Marker.constrain.rawValue.utf8
        guard contentType.utf8.starts(with: marker) else { return [.text(" \(contentType)")] }
        let rest = String(decoding: contentType.utf8.dropFirst(marker.count), as: UTF8.self)
        return [.text(" "), .marker(.constrain), .text(rest)]
    }

    private func misplaced(_ content: String, _ role: Role) -> RenderingError {
        RenderingError(
            description: "\(content) content in a message of role \(role.rawValue): expected only in role \(content)")
    }
}

extension SystemContent {
    fileprivate func rendered(hasFunctions: Bool) -> String {
        let top = [
            identity, knowledgeCutoff.map { "Knowledge cutoff: \($0)" }, currentDate.map { "Current date: \($0)" },
        ].compactMap { $0 }
        var sections: [String] = []
        if !top.isEmpty { sections.append(top.joined(separator: "\n")) }
        if let reasoningEffort { sections.append("Reasoning: \(reasoningEffort.rawValue)") }
        if !tools.isEmpty { sections.append(tools.rendered) }
        if !channels.isEmpty {
            var section = "# Valid channels: \(channels.joined(separator: ", "))."
            if channelRequired { section += " Channel must be included for every message." }
            if hasFunctions {
                section += "\nCalls to these tools must go to the commentary channel: '\(ToolNamespace.functions)'."
            }
            sections.append(section)
        }
        return sections.joined(separator: "\n\n")
    }
}

extension DeveloperContent {
    fileprivate var rendered: String {
        var sections: [String] = []
        if let instructions { sections += ["# Instructions", instructions] }
        if !tools.isEmpty { sections.append(tools.rendered) }
        return sections.joined(separator: "\n\n")
    }
}
