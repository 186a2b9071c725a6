package import Checkpoints
package import Transformer

/// What a worker says when it dials in.
package struct JoinRequest: Sendable, Equatable {
    /// For people: host and process.
    package var name: String
    /// Bytes of experts that it will hold.
    package var memoryBudget: UInt64
    package var threads: Int
    /// Empty where it has no checkpoint.
    package var digest: [UInt8]
    /// Nil where it has no checkpoint.
    package var shape: ModelShape?
    package var precisions: [Precision]

    package init(
        name: String, memoryBudget: UInt64, threads: Int, digest: [UInt8], shape: ModelShape?, precisions: [Precision]
    ) {
        self.name = name
        self.memoryBudget = memoryBudget
        self.threads = threads
        self.digest = digest
        self.shape = shape
        self.precisions = precisions
    }
}

/// What a worker without a checkpoint must know of the model.
package struct ModelDescription: Sendable, Equatable {
    /// SHA-256 of the checkpoint, 32 bytes.
    package var digest: [UInt8]
    package var experts: ExpertConfig
    package var weightsEndpoint: String

    package init(digest: [UInt8], experts: ExpertConfig, weightsEndpoint: String) {
        self.digest = digest
        self.experts = experts
        self.weightsEndpoint = weightsEndpoint
    }
}

/// How far a worker is with bringing its newest experts into memory, in bytes.
package struct LoadingProgress: Sendable, Equatable {
    package var loaded: UInt64
    package var wanted: UInt64
    /// From the coordinator, since it joined.
    package var received: UInt64

    package init(loaded: UInt64, wanted: UInt64, received: UInt64) {
        self.loaded = loaded
        self.wanted = wanted
        self.received = received
    }
}

/// All that a worker has computed since it started.
package struct ComputeTotals: Sendable, Equatable {
    /// A row through an expert counts 1, an expert read for a batch ``LoadBalancer/readingInRows`` more.
    package var work: UInt64
    package var nanoseconds: UInt64

    package init(work: UInt64 = 0, nanoseconds: UInt64 = 0) {
        self.work = work
        self.nanoseconds = nanoseconds
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
    /// A coordinator's heartbeat: requests of these epochs may come, and of the newest that was assigned, but of no other.
    case inForce(ClosedRange<UInt64>)
    case leave(reason: String)
    case refuse(Refusal)
    case model(ModelDescription)
    case loading(LoadingProgress)
    case computed(ComputeTotals)

    /// Headers beyond this size are not parsed: an assignment's bit set for 128 layers of 2048 experts fits.
    package static let maximumBytes = 65_536
}
