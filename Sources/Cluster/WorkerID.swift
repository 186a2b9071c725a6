/// A worker's routing identity on all of its sockets to a coordinator. Random and new for every session, so that nothing
/// meant for an earlier one can reach it. Its first half is the worker's, by which all of its coordinators order their
/// workers alike and so share the experts out alike.
///
/// With keys, it belongs to the key that joined with it, and what another key sends under it is dropped. Nobody can take
/// it before its owner does: it is a secret of the worker and its coordinator, which travels encrypted, and of which only
/// the beginning is ever shown.
package struct WorkerID: Hashable, Sendable, CustomStringConvertible, Comparable {
    static let byteCount = 16

    private let high, low: UInt64

    /// A random identity.
    /// - Parameter worker: the first half.
    package init(of worker: UInt64 = .random(in: .min ... .max)) {
        // libzmq reserves identities that begin with a zero byte.
        high = worker | 0x0101_0101_0101_0101
        low = UInt64.random(in: .min ... .max)
    }

    /// Nil unless there are sixteen bytes.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.byteCount else { return nil }
        high = bytes.loadUnaligned(as: UInt64.self)
        low = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    }

    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try Swift.withUnsafeBytes(of: (high, low), body)
    }

    /// The worker's half.
    var process: UInt64 { high }

    /// Any total order, the same wherever it is asked for.
    package static func < (left: WorkerID, right: WorkerID) -> Bool { (left.high, left.low) < (right.high, right.low) }

    /// The first bytes, enough to tell workers apart in a log.
    package var description: String { String(high.bigEndian >> 32, radix: 16) }
}
