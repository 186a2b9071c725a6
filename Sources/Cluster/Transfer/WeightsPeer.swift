/// Who asks for weights, as the ROUTER knows it: a worker, over one of its connections.
///
/// Each connection has an identity of its own, for as long as the coordinator does not know that one has ended, its ROUTER
/// takes no notice of another of the same. To let that one take over (ZMQ_ROUTER_HANDOVER) is not safe: while a message of
/// another peer is received, libzmq 4.3 may go on with the wrong peer's frames, or abort (fq.cpp).
package struct WeightsPeer: Hashable, Sendable {
    package let worker: WorkerID
    /// Counts the worker's connections, and begins anew after 255.
    package let connection: UInt8

    package init(worker: WorkerID, connection: UInt8) {
        self.worker = worker
        self.connection = connection
    }

    /// Nil unless there are seventeen bytes.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard let connection = bytes.last,
            let worker = WorkerID(UnsafeRawBufferPointer(rebasing: bytes.dropLast()))
        else { return nil }
        self.init(worker: worker, connection: connection)
    }

    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try worker.withUnsafeBytes { id in
            try withUnsafeTemporaryAllocation(byteCount: id.count + 1, alignment: 1) { buffer in
                buffer.copyMemory(from: id)
                buffer[id.count] = connection
                return try body(UnsafeRawBufferPointer(buffer))
            }
        }
    }
}
