import Foundation
import Harmony
import JSON
import TestSupport
import Testing

/// A line of render.jsonl.
struct RenderFixture: Sendable, CustomTestStringConvertible {
    static let all = ((try? Fixtures.jsonLines(Fixtures.root.appending(path: "harmony/render.jsonl"))) ?? [])
        .map(RenderFixture.init)

    let json: JSONValue

    var testDescription: String { json["id"]?.string ?? "?" }
    var text: String { json["text"]?.string ?? "" }
    var fails: Bool { json["error"] != nil }
    var droppingAnalysis: Bool { json["auto_drop_analysis"]?.bool ?? true }
    var nextRole: Role { json["next_role"]?.string.flatMap(Role.init(rawValue:)) ?? .assistant }

    func tokens(_ name: String) -> [Int32]? { json[name]?.array?.compactMap { $0.integer.map(Int32.init) } }

    func conversation() throws -> Conversation {
        Conversation(messages: try (json["conversation"]?["messages"]?.array ?? []).map(Message.init(fixture:)))
    }

    /// The chat request that the conversation was made from.
    var request: ChatRequest? {
        guard let request = json["request"] else { return nil }
        return ChatRequest(
            messages: request["messages"]?.array?.map(ChatMessage.init(fixture:)) ?? [],
            tools: request["tools"]?.array?.compactMap { $0["function"].map(Tool.init(fixture:)) } ?? [],
            reasoningEffort: request["reasoning_effort"]?.string.flatMap(ReasoningEffort.init(rawValue:)) ?? .medium,
            currentDate: json["context"]?["current_date"]?.string)
    }
}

struct UnknownWord: Error {
    let word: String
}

extension Message {
    fileprivate init(fixture json: JSONValue) throws {
        let word = json["role"]?.string ?? ""
        guard let role = Role(rawValue: word) else { throw UnknownWord(word: word) }
        let content: [Content] =
            if let text = json["content"]?.string { [.text(text)] } else {
                try (json["content"]?.array ?? []).map(Content.init(fixture:))
            }
        self.init(
            role: role, name: json["name"]?.string, recipient: json["recipient"]?.string,
            channel: json["channel"]?.string, contentType: json["content_type"]?.string, content: content)
    }
}

extension Content {
    fileprivate init(fixture json: JSONValue) throws {
        let tools = json["tools"]?.object?.members.map { ToolNamespace(fixture: $0.value) } ?? []
        switch json["type"]?.string ?? "" {
        case "text":
            self = .text(json["text"]?.string ?? "")
        case "developer_content":
            self = .developer(DeveloperContent(instructions: json["instructions"]?.string, tools: tools))
        case "system_content":
            self = .system(
                SystemContent(
                    identity: json["model_identity"]?.string, knowledgeCutoff: json["knowledge_cutoff"]?.string,
                    currentDate: json["conversation_start_date"]?.string,
                    reasoningEffort: (json["reasoning_effort"]?.string?.lowercased()).flatMap(
                        ReasoningEffort.init(rawValue:)),
                    tools: tools,
                    channels: json["channel_config"]?["valid_channels"]?.array?.compactMap(\.string) ?? [],
                    channelRequired: json["channel_config"]?["channel_required"]?.bool ?? false))
        case let word:
            throw UnknownWord(word: word)
        }
    }
}

extension ToolNamespace {
    fileprivate init(fixture json: JSONValue) {
        self.init(
            name: json["name"]?.string ?? "", description: json["description"]?.string,
            tools: json["tools"]?.array?.map(Tool.init(fixture:)) ?? [])
    }
}

extension Tool {
    fileprivate init(fixture json: JSONValue) {
        self.init(
            name: json["name"]?.string ?? "", description: json["description"]?.string ?? "",
            parameters: json["parameters"])
    }
}

extension ChatMessage {
    fileprivate init(fixture json: JSONValue) {
        let text = json["content"]?.string ?? json["content"]?.array?.compactMap { $0["text"]?.string }.joined()
        switch json["role"]?.string {
        case "user": self = .user(text ?? "")
        case "tool": self = .tool(callID: json["tool_call_id"]?.string ?? "", content: text ?? "")
        case "assistant":
            let calls = json["tool_calls"]?.array?.map { call in
                ChatToolCall(
                    id: call["id"]?.string ?? "", name: call["function"]?["name"]?.string ?? "",
                    arguments: call["function"]?["arguments"]?.string ?? "")
            }
            self = .assistant(
                reasoning: json["reasoning_content"]?.string, content: text, toolCalls: calls ?? [])
        default: self = .instructions(text ?? "")
        }
    }
}
