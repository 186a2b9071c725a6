import CZeroMQ

/// The public half of a CURVE key pair: who a member of the cluster is.
public struct PublicKey: Hashable, Sendable, CustomStringConvertible {
    /// Forty characters of Z85 (ZeroMQ's RFC 32).
    public let description: String

    /// Nil where `text` is not the Z85 of 32 bytes.
    public init?(_ text: some StringProtocol) {
        let text = String(text)
        guard Z85.isKey(text) else { return nil }
        description = text
    }

    /// Nil unless there are 32 bytes.
    init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Z85.keyBytes else { return nil }
        let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Z85.keyCharacters + 1) { text in
            zmq_z85_encode(text.baseAddress, bytes.baseAddress, bytes.count).map { String(cString: $0) }
        }
        guard let text else { return nil }
        description = text
    }
}

/// The text of a CURVE key.
enum Z85 {
    static let keyBytes = 32
    static let keyCharacters = 40

    static func isKey(_ text: String) -> Bool {
        guard text.utf8.count == keyCharacters else { return false }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: keyBytes) {
            zmq_z85_decode($0.baseAddress, text) != nil
        }
    }
}
