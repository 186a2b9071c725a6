/// A value inside the forward pass that an observer can look at: for tests against the reference, and for `score`,
/// which reports the chosen experts.
public enum Observation: Sendable {
    case embedding, attentionInput, query, key, value, attentionHeads, attentionOutput
    /// [heads][keys] of one row: the softmax without the sink's share.
    case attentionProbabilities
    /// [heads] of one row.
    case sinkProbabilities
    case expertInput, routerLogits, routingWeights, hidden, finalNorm
}

/// Sees each observation of a forward pass in order, while it runs. `values`: [rows][…], valid during the call. From the
/// last layer's queries on the rows are those whose logits are wanted.
public protocol ForwardObserver: AnyObject {
    /// One observation of one layer; `layer` is 0 where the observation belongs to no layer.
    func observe(_ observation: Observation, layer: Int, values: UnsafeBufferPointer<Float>, rows: Int)
    /// The chosen experts [rows][expertsPerToken] in descending order of router logit.
    func observe(experts: UnsafeBufferPointer<Int32>, layer: Int, rows: Int)
}
