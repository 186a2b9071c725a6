import Harmony
import Testing

@Suite struct ChatRequestTests {
    @Test("a tool's result without a call is refused, naming the field") func orphanedResult() {
        let request = ChatRequest(messages: [.instructions("i"), .user("x"), .tool(callID: "c9", content: "r")])
        #expect(path(refused: request) == "messages[2].tool_call_id")
    }

    @Test("a call cannot be answered before it is made") func earlyResult() {
        let call = ChatToolCall(id: "c", name: "f", arguments: "{}")
        let request = ChatRequest(messages: [.tool(callID: "c", content: "r"), .assistant(toolCalls: [call])])
        #expect(path(refused: request) == "messages[0].tool_call_id")
    }

    @Test("names that cannot stand in a header are refused", arguments: ["", "a b", "a\u{a0}b", "f<|message|>", "\n"])
    func names(name: String) {
        #expect(path(refused: ChatRequest(messages: [], tools: [Tool(name: name)])) == "tools[0].function.name")
        let call = ChatToolCall(id: "c", name: name, arguments: "{}")
        #expect(
            path(refused: ChatRequest(messages: [.user("x"), .assistant(toolCalls: [call])]))
                == "messages[1].tool_calls[0].function.name")
    }

    @Test("empty texts of instructions and replies are left out") func emptyTexts() throws {
        let conversation = try Conversation(
            ChatRequest(messages: [
                .instructions(""), .user(""), .assistant(reasoning: "", content: ""), .instructions(""),
            ]))
        #expect(conversation.messages.map(\.role) == [.system, .user])
    }

    private func path(refused request: ChatRequest) -> String? {
        do {
            _ = try Conversation(request)
            return nil
        } catch {
            return error.path
        }
    }
}
