import JSON

/// What a server says about itself before it is measured.
public struct ServerProbe: Sendable {
    private static let patience = 30.0

    private let server: ServerAddress
    private let apiKey: String?

    /// A probe of that server.
    public init(_ server: ServerAddress, apiKey: String?) {
        self.server = server
        self.apiKey = apiKey
    }

    /// The first of `GET /v1/models`.
    /// - Throws: ``LoadError`` where the server cannot be reached or is not an OpenAI server.
    public func firstModel() throws -> String {
        let (status, body) = try server.call("/v1/models", apiKey: apiKey, seconds: Self.patience)
        guard status == 200 else {
            throw LoadError(
                "GET \(server.url)/v1/models gave HTTP \(status): \(CompletionStream.message(ofBody: body))")
        }
        let models = try? JSONValue(parsing: body)["data"]?.array
        guard let name = models?.first?["id"]?.string else {
            throw LoadError("GET \(server.url)/v1/models names no model; is it an OpenAI server?")
        }
        return name
    }

    /// Ids of ordinary text: those up to the greatest in which the server's own `POST /tokenize` writes a varied text,
    /// without the lowest, where some vocabularies keep their special tokens. Nil where it has no such endpoint.
    public func ordinaryTokens(model: String) -> ClosedRange<Int>? {
        // vLLM's form and Shoal's, then llama.cpp's.
        let bodies: [JSONValue] = [
            ["model": .string(model), "prompt": .string(Self.variedText)], ["content": .string(Self.variedText)],
        ]
        for body in bodies {
            guard
                let (status, answer) = try? server.call(
                    "/tokenize", body: body, apiKey: apiKey, seconds: Self.patience),
                status == 200, let tokens = try? JSONValue(parsing: answer)["tokens"]?.array,
                let greatest = tokens.compactMap(\.integer).max(), greatest > 0
            else { continue }
            return min(1000, greatest / 2)...greatest
        }
        return nil
    }

    private static let variedText = """
        The quick brown fox jumps over the lazy dog, while Zürich's physicists rehydrate 31,415 photosynthesising \
        hippopotamuses; unbelievably antediluvian bureaucracies notwithstanding. def __init__(self): return NotImplemented \
        Ἀλήθεια, широкомасштабный, 自然言語処理, 인공지능, ความรู้, الرياضيات, संगणक, ελληνικά, łódź, Ægypten 🦈🌊
        """
}
