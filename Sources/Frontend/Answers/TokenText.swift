import JSON
import Tokenization

/// How single tokens, which may be no text by themselves, are shown.
enum TokenText {
    /// The token's text, or `bytes:\xe2\x80` where it is half a code point, as OpenAI's completions write it.
    static func lossless(_ token: Int32, _ tokenizer: Tokenizer) -> String {
        let bytes = tokenizer.bytes(of: token) ?? []
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        return "bytes:" + bytes.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// A natural log-probability in the fewest digits that tell it from its neighbours. What JSON cannot say is told as
    /// OpenAI does, by -9999.
    static func json(logprob: Float) -> JSONValue {
        .number(logprob.isFinite && logprob > -9999 ? JSONNumber(text: "\(logprob)") : JSONNumber(-9999))
    }
}
