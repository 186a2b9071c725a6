/// Who asks for weights, as the ROUTER knows it: a worker, over one of its connections.
///
/// Each connection has an identity of its own, for as long as the coordinator does not know that one has ended, its ROUTER
/// takes no notice of another of the same. To let that one take over (ZMQ_ROUTER_HANDOVER) is not safe: while a message of
/// another peer is received, libzmq 4.3 may go on with the wrong peer's frames, or abort (fq.cpp).
package struct WeightsPeer: Hashable, Sendable {
    package let worker: WorkerID
    /// Counts the worker's connections, also those over which it never asks.
    package let connection: UInt32

    package init(worker: WorkerID, connection: UInt32) {
        self.worker = worker
        self.connection = connection
    }

    /// Nil unless there are twenty bytes: the worker's, and the connection's number in little-endian order.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        let size = MemoryLayout<UInt32>.size
        guard bytes.count > size, let worker = WorkerID(UnsafeRawBufferPointer(rebasing: bytes.dropLast(size))) else {
            return nil
        }
        let number = bytes.loadUnaligned(fromByteOffset: bytes.count - size, as: UInt32.self)
        self.init(worker: worker, connection: UInt32(littleEndian: number))
    }

    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try worker.withUnsafeBytes { id in
            let size = id.count + MemoryLayout<UInt32>.size
            return try withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { buffer in
                buffer.copyMemory(from: id)
                buffer.storeBytes(of: connection.littleEndian, toByteOffset: id.count, as: UInt32.self)
                return try body(UnsafeRawBufferPointer(buffer))
            }
        }
    }
}
