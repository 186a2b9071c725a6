import CZeroMQ

/// A CURVE key pair, of which only the public half is ever shown.
public struct KeyPair: Sendable, CustomStringConvertible {
    /// By which others know whoever has the private key.
    public let publicKey: PublicKey
    /// Z85.
    let privateKey: String

    /// The public key alone: the private one is not to get into a log by mistake.
    public var description: String { publicKey.description }

    /// A new pair, from the system's random numbers.
    /// - Throws: ``ClusterError`` where libzmq was built without CURVE.
    public static func generate() throws -> KeyPair {
        try withUnsafeTemporaryAllocation(of: CChar.self, capacity: 2 * (Z85.keyCharacters + 1)) { text in
            let (publicText, privateText) = (text.baseAddress, text.baseAddress?.advanced(by: Z85.keyCharacters + 1))
            guard zmq_curve_keypair(publicText, privateText) == 0, let privateText else {
                throw ClusterError("\(ZMQError("making a key pair")); libzmq must have been built with CURVE")
            }
            return try KeyPair(privateKey: String(cString: privateText))
        }
    }

    /// - Throws: ``ClusterError`` where `privateKey` is not the Z85 of 32 bytes.
    init(privateKey: String) throws {
        guard Z85.isKey(privateKey) else {
            throw ClusterError("the private key is not \(Z85.keyCharacters) characters of Z85")
        }
        let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Z85.keyCharacters + 1) { text in
            zmq_curve_public(text.baseAddress, privateKey) == 0 ? text.baseAddress.map { String(cString: $0) } : nil
        }
        guard let publicKey = text.flatMap({ PublicKey($0) }) else {
            throw ClusterError("\(ZMQError("deriving a public key")); libzmq must have been built with CURVE")
        }
        self.publicKey = publicKey
        self.privateKey = privateKey
    }
}
