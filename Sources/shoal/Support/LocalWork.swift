import Checkpoints
import Cluster
import Engine

/// What of the experts' work the coordinator does itself.
enum LocalWork: String, CaseIterable {
    /// A share of every batch, beside the workers.
    case share
    /// What no worker does.
    case spare
    case none

    static let flag = Flag(
        "local-experts", "WHAT",
        "What is computed here: share (default), a part of every batch beside the workers where the weights fit into "
            + "memory; spare, only what no worker owns or answers in time; none, and then workers must own them all.")

    init(_ arguments: Arguments) throws(UsageError) {
        self = try arguments.choice("local-experts", default: .share)
    }
}

extension LocalWork {
    /// Whether the coordinator is to compute a share: not where its weights would have to be read from the disk again and
    /// again, for want of memory for them beside keys and values.
    func isShared(of checkpoint: Checkpoint, kvMemory: Int?, log: Log) -> Bool {
        guard self == .share else { return false }
        // Where nothing is known, trying tells.
        guard let available = AvailableMemory.bytes else { return true }
        // What keys and values get at least where nobody says.
        let needed = checkpoint.byteCount + (kvMemory ?? available / 4)
        guard needed > available else { return true }
        log(
            .info,
            "the weights do not fit into memory beside keys and values: experts that workers have are left to them "
                + "(--local-experts spare); a smaller --kv-memory may help",
            [("needed", KVMemory.text(needed)), ("available", KVMemory.text(available))])
        return false
    }
}
