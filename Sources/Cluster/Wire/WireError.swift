/// The version of proto/cluster.proto that this build speaks.
package let protocolVersion: UInt32 = 3

/// Why a message was not taken.
public enum DropCause: String, Sendable, CaseIterable {
    /// The header is larger than any header is.
    case oversizedHeader
    /// The header cannot be parsed, or lacks what it must have.
    case malformedHeader
    case wrongProtocolVersion
    /// A message that this side never receives.
    case unexpectedMessage
    /// More or fewer frames than the header's kind has.
    case wrongFrameCount
    /// A message of frames without end, of which the connection was cut.
    case unendingMessage
    /// A frame whose size is not what the header and the model's dimensions say.
    case wrongFrameSize
    /// A layer, expert, row or count beyond the model's or the batch's.
    case outOfBounds
    /// An epoch that is not, or no longer, in force.
    case staleEpoch
    /// A sequence number that nothing is owed for: late, or a duplicate.
    case unknownSequence
    /// A sender that is not a member.
    case unknownSender
    /// A sender whose key is not authorised, or not any longer.
    case unauthorizedKey
    /// A sender that uses an identity of another key.
    case foreignIdentity
    /// A connection that did not come about: no ZeroMQ, no key, a wrong key, or no word in time.
    case failedHandshake
    case wrongPrecision
    /// About the weights of another checkpoint.
    case wrongCheckpoint
    /// Bytes that do not have the digest that they should have.
    case wrongDigest
    /// A worker that could not compute what it was asked for.
    case expertFailure
    /// NaN or infinity where an expert's output was due.
    case nonFiniteResult
    /// An expert's output that is not what the coordinator computes.
    case wrongResult
}

/// A message was not taken, and is to be counted.
package struct WireError: Error, Equatable {
    package let cause: DropCause

    package init(_ cause: DropCause) { self.cause = cause }
}
