import Checkpoints

extension Transformer {
    /// Bytes of files that each step reads in part: memory that is wanted though it counts as free.
    public var mappedBytes: Int { checkpoint.byteCount }

    /// Calls `body` once for every index below `count`, on any of this model's threads, between forward passes.
    package func concurrently(_ count: Int, _ body: (Int) -> Void) { pool.run(count, body) }
}
