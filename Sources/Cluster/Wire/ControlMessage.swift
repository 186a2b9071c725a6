package import Transformer

/// What a worker says when it dials in.
package struct JoinRequest: Sendable, Equatable {
    /// For people: host and process.
    package var name: String
    /// Bytes of experts that it will hold.
    package var memoryBudget: UInt64
    package var threads: Int
    package var digest: [UInt8]
    package var shape: ModelShape
    package var precisions: [Precision]

    package init(
        name: String, memoryBudget: UInt64, threads: Int, digest: [UInt8], shape: ModelShape, precisions: [Precision]
    ) {
        self.name = name
        self.memoryBudget = memoryBudget
        self.threads = threads
        self.digest = digest
        self.shape = shape
        self.precisions = precisions
    }
}

/// The experts that a worker owns from an epoch on.
package struct Assignment: Sendable, Equatable {
    package var epoch: UInt64
    package var precision: Precision
    package var experts: ExpertSet
    package var dataEndpoint: String
    package var heartbeatInterval: Duration

    package init(
        epoch: UInt64, precision: Precision, experts: ExpertSet, dataEndpoint: String, heartbeatInterval: Duration
    ) {
        self.epoch = epoch
        self.precision = precision
        self.experts = experts
        self.dataEndpoint = dataEndpoint
        self.heartbeatInterval = heartbeatInterval
    }
}

/// Why a worker does not belong here.
package struct Refusal: Sendable, Equatable {
    package enum Cause: UInt32, Sendable {
        case unspecified, protocolVersion, digest, shape, precision
        /// Not final: the worker is to join again.
        case unknownMember
    }
    package var cause: Cause
    package var reason: String

    package init(cause: Cause, reason: String) {
        self.cause = cause
        self.reason = reason
    }
}

/// The messages of the control sockets, checked.
package enum ControlMessage: Sendable, Equatable {
    case join(JoinRequest)
    case assign(Assignment)
    case ready(epoch: UInt64)
    case heartbeat
    case leave(reason: String)
    case refuse(Refusal)

    /// Headers beyond this size are not parsed: an assignment's bit set for 128 layers of 2048 experts fits.
    package static let maximumBytes = 65_536
}
