import Foundation
import Harmony
import JSON
import TestSupport
import Testing

/// A line of parse.jsonl.
struct ParseFixture: Sendable, CustomTestStringConvertible {
    static let all = ((try? Fixtures.jsonLines(Fixtures.root.appending(path: "harmony/parse.jsonl"))) ?? [])
        .map(ParseFixture.init)

    /// What a parser is expected to make of the tokens.
    enum Outcome {
        case messages([JSONValue])
        case error(String)
    }

    let json: JSONValue

    var testDescription: String { json["id"]?.string ?? "?" }
    var text: String { json["text"]?.string ?? "" }
    var role: Role? { json["role"]?.string.flatMap(Role.init(rawValue:)) }
    var tokens: [Int32] { json["tokens"]?.array?.compactMap { $0.integer.map(Int32.init) } ?? [] }
    var steps: [JSONValue] { json["steps"]?.array ?? [] }
    var strict: Outcome { Outcome(json["strict"]) }
    var tolerant: Outcome { Outcome(json["non_strict"] ?? json["strict"]) }
    var isTolerantDifferent: Bool { json["non_strict"] != nil }
    var messagesBeforeError: [JSONValue] { json["messages_before_error"]?.array ?? [] }

    /// The index of the token that strict mode refuses.
    var errorIndex: Int? { json["stream_error"].map { $0["at"]?.integer ?? tokens.count } }

    /// Whether the text says all that the tokens say, so that other vocabularies can stand in for o200k: it does not
    /// where tokens are no text.
    var isText: Bool {
        let replacement = "\u{FFFD}".utf8
        return text.utf8.firstRange(of: replacement) == nil && json.serialized.utf8.firstRange(of: replacement) == nil
    }
}

extension ParseFixture.Outcome {
    fileprivate init(_ json: JSONValue?) {
        self = json?["error"]?.string.map { .error($0) } ?? .messages(json?["messages"]?.array ?? [])
    }
}

/// Messages in one form whose bytes can be compared: Swift's strings are equal when their characters are.
func comparable(_ fixture: JSONValue) -> [UInt8] {
    let names = ["role", "name", "recipient", "channel", "content_type", "content"]
    return Array(JSONValue.array(names.map { fixture[$0] ?? nil }).serialized.utf8)
}

func comparable(_ parsed: ParsedMessage) -> [UInt8] {
    let message = parsed.message
    let content = message.content.map { if case .text(let text) = $0 { text } else { "" } }.joined()
    let fields = [
        message.role.rawValue, message.name, message.recipient, message.channel, message.contentType, content,
    ]
    return Array(JSONValue.array(fields.map { $0.map { .string($0) } ?? nil }).serialized.utf8)
}
