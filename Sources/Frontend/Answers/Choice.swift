package import Engine
package import JSON

/// Turns what one generation yields into one of the choices of an answer.
package protocol Choice: Sendable {
    /// A part of the choice: what one chunk of a stream carries, or, put together, the whole.
    associatedtype Delta: ChoiceDelta

    /// How the ids of answers begin.
    static var idPrefix: String { get }
    /// The `object` of an answer in one piece.
    static var object: String { get }
    /// The `object` of a chunk of a stream.
    static var chunkObject: String { get }

    /// Whether all choices have one prompt, so that its scores belong to the answer and not to each choice.
    static var sharesPrompt: Bool { get }

    /// Takes the next event.
    mutating func take(_ event: GenerationEvent) -> Delta
    /// `stop`, `length` or `tool_calls`; nil until nothing more will come.
    var finishReason: String? { get }
    /// The stop string or token that was asked for and ended the choice; nil where it ended otherwise.
    var stopReason: StopReason? { get }
    var completionTokens: Int { get }
    /// How many of them were spent on reasoning; nil where there is no such distinction.
    var reasoningTokens: Int? { get }

    /// What a stream begins with, where anything.
    static var opening: JSONValue? { get }
    /// The parts of a choice, beside its index and finish reason, as one chunk of a stream.
    static func chunk(_ delta: Delta) -> JSONObject
    /// The parts of a choice, beside its index and finish reason, in one piece.
    static func whole(_ delta: Delta) -> JSONObject
}

/// A part of a choice.
package protocol ChoiceDelta: Sendable {
    init()
    /// Whether there is nothing to be sent.
    var isEmpty: Bool { get }
    /// Adds the part that follows.
    mutating func append(_ next: Self)
}
