import Engine
import Harmony
import JSON
import Tokenization

extension Endpoints {
    /// `POST /tokenize`.
    func tokenize(_ request: TokenizeRequest) throws -> JSONValue {
        let tokens: [Int32]
        switch request.input {
        case .text(let text): tokens = harmony.tokenizer.encode(text, specialTokens: .all)
        case .chat(let fields, addsGenerationPrompt: true): tokens = try prompt(for: fields)
        case .chat(let fields, addsGenerationPrompt: false):
            let opening = 1 + harmony.tokenizer.encode(Role.assistant.rawValue).count
            tokens = try prompt(for: fields).dropLast(opening)
        }
        return [
            "count": JSONValue(tokens.count), "max_model_len": JSONValue(engine.contextLength),
            "tokens": .array(tokens.map { JSONValue($0) }),
            "token_strs": request.returnsTokenStrings
                ? .array(tokens.map { .string(harmony.tokenizer.vocabularyEntry(of: $0) ?? "") }) : nil,
        ]
    }
}
