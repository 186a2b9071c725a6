import Engine
import JSON
import Tokenization

/// The `prompt_logprobs` of vLLM: per token of the prompt an object from token ids, the prompt's own first, to
/// log-probability, rank and text; null for the first token, which nothing precedes.
struct PromptLogprobs: Sendable {
    let tokenizer: Tokenizer
    /// The number of alternatives.
    let count: Int

    func json(_ scores: [ScoredToken]) -> JSONValue { .array(scores.map(entry)) }

    private func entry(_ token: ScoredToken) -> JSONValue {
        guard let logprob = token.logprob else { return .null }
        var members = [member(token.id, logprob, rank: token.rank)]
        for (index, alternative) in token.top.prefix(count).enumerated() where alternative.id != token.id {
            members.append(member(alternative.id, alternative.logprob, rank: index + 1))
        }
        return .object(JSONObject(members))
    }

    private func member(_ id: Int32, _ logprob: Float, rank: Int?) -> JSONObject.Member {
        JSONObject.Member(
            name: String(id),
            value: [
                "logprob": TokenText.json(logprob: logprob), "rank": rank.map { JSONValue($0) } ?? .null,
                "decoded_token": .string(String(decoding: tokenizer.bytes(of: id) ?? [], as: UTF8.self)),
            ])
    }
}
