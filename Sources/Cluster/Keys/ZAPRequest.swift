/// A question of libzmq's whether a connection may be made, as ZeroMQ's RFC 27 frames it.
package struct ZAPRequest: Equatable {
    /// Of all sockets that ask here.
    static let domain = "shoal"
    static let frameCount = 7
    private static let version = Array("1.0".utf8)

    private let id: [UInt8]
    /// Of the peer; empty where it has none.
    package let address: String
    package let key: PublicKey

    /// Nil unless this is a question about a CURVE key in our domain.
    package init?(_ frames: [[UInt8]]) {
        guard frames.count == Self.frameCount, frames[0] == Self.version, frames[1].count <= 255,
            frames[2] == Array(Self.domain.utf8), frames[3].count <= 255, frames[5] == Array("CURVE".utf8),
            let key = frames[6].withUnsafeBytes({ PublicKey(bytes: $0) })
        else { return nil }
        id = frames[1]
        address = String(decoding: frames[3], as: UTF8.self)
        self.key = key
    }

    /// Admits the peer, whose messages carry its key from then on, or turns it away.
    package func reply(admitted: Bool) -> [[UInt8]] {
        admitted
            ? Self.reply(id, "200", "", user: key.description)
            : Self.reply(id, "400", "this key is not authorised")
    }

    /// Turns away whoever a request is about that is none.
    package static func refusal(of frames: [[UInt8]]) -> [[UInt8]] {
        reply(frames.count > 1 ? Array(frames[1].prefix(255)) : [], "400", "expected CURVE")
    }

    private static func reply(_ id: [UInt8], _ status: String, _ text: String, user: String = "") -> [[UInt8]] {
        [version, id, Array(status.utf8), Array(text.utf8), Array(user.utf8), []]
    }
}
