import Checkpoints
import Foundation
import Synchronization

/// Brings experts from the cache and from the coordinator into a ``WeightStore``: the socket and the clock around
/// ``WeightTransfer``. One load at a time, on any thread.
final class WeightFetcher: @unchecked Sendable {  // Whoever starts a load has waited for the one before.
    private let store: WeightStore
    private let endpoint: Endpoint
    private let protection: Protection<WorkerKeys>
    private let id: WorkerID
    /// Of the load under way, and how many there have been.
    private var connection: Connection?
    private var connections: UInt32 = 0
    private let counters: DropCounters
    private let log: Log
    private let arena = WireArena(capacity: 4096)
    private let incoming = ZMQMessage()
    private let state: Mutex<LoadingProgress>
    private var isSilenceReported = false

    /// To be looked for next: one at a time, so that a load that is not wanted any more ends soon.
    private var next: ExpertID?
    /// Of the experts on their way.
    private var manifests: [ExpertID: [ChunkDigest]] = [:]

    /// A socket to the coordinator's weights, with a thread of its own.
    private struct Connection {
        let socket: ZMQSocket
        let monitor: SocketMonitor
        var poller: ZMQPoller
        /// As far as the monitor has said.
        var isMade = false

        init(
            _ endpoint: Endpoint, _ protection: Protection<WorkerKeys>, as peer: WeightsPeer, chunks: Chunks
        ) throws {
            socket = try ZMQSocket(.dealer, in: ZMQContext())
            try socket.protect(protection)
            try socket.limit(
                frameBytes: max(Chunks.size, chunks.manifestBytes), queue: 2 * Int32(ChunkWindow.sizes.upperBound))
            try peer.withUnsafeBytes(socket.setIdentity)
            monitor = try SocketMonitor(socket)
            poller = ZMQPoller([socket, monitor.socket])
            try socket.connect(endpoint)
        }
    }

    /// - Parameter endpoint: the coordinator's weights socket.
    init(
        _ store: WeightStore, endpoint: Endpoint, protection: Protection<WorkerKeys>, id: WorkerID,
        counters: DropCounters, log: Log
    ) {
        self.store = store
        self.counters = counters
        self.log = log
        state = Mutex(LoadingProgress(loaded: 0, wanted: 0, received: 0))
        self.endpoint = endpoint
        self.protection = protection
        self.id = id
    }

    private func connect() throws {
        let peer = WeightsPeer(worker: id, connection: connections)
        connections &+= 1
        connection = try Connection(endpoint, protection, as: peer, chunks: store.chunks)
    }

    /// How far the load under way is.
    var progress: LoadingProgress { state.withLock { $0 } }

    /// Returns when the experts are here, every chunk of them with its digest, or are not wanted any more.
    /// - Throws: ``ClusterError`` when the coordinator's weights are not what it says, or there is no memory.
    func load(_ experts: ExpertSet, isWanted: () -> Bool) throws {
        try connect()
        defer {
            connection = nil
            store.releaseClaims(of: id)
        }
        let wanted = (0..<store.model.shape.layers).flatMap { layer in
            (0..<store.model.shape.experts).map { ExpertID(layer: layer, expert: $0) }
                .filter { experts.contains(layer: $0.layer, expert: $0.expert) }
        }
        let begin = ContinuousClock.now
        let receivedBefore = progress.received
        // Another session may have taken over what this one had begun, and not have it yet.
        repeat {
            guard try transfer(wanted, isWanted) else { return }
        } while !wanted.allSatisfy(store.look)
        let received = progress.received - receivedBefore
        log(
            .info, "the experts are here",
            [
                ("experts", String(wanted.count)), ("bytes", String(progress.wanted)), ("received", String(received)),
                ("seconds", String(format: "%.3f", begin.duration(to: .now).seconds)),
            ])
    }

    /// False when they are not wanted any more.
    private func transfer(_ wanted: [ExpertID], _ isWanted: () -> Bool) throws -> Bool {
        state.withLock {
            $0.loaded = 0
            $0.wanted = UInt64(wanted.count) * UInt64(store.chunks.expertBytes)
        }
        (next, manifests) = (nil, [:])
        var transfer = WeightTransfer(wanted, chunkCount: store.chunks.count, at: .now)
        try perform(transfer.begin(), &transfer)
        while !transfer.isComplete {
            guard isWanted() else { return false }
            try noticeConnections(&transfer)
            if let expert = next {
                next = nil
                let isHere = store.look(expert)
                if isHere { count(store.chunks.expertBytes) }
                try handle(.looked(expert, isHere: isHere), &transfer)
            } else {
                _ = try connection?.poller.wait(milliseconds: 20)
                try receive(&transfer)
                try handle(.tick, &transfer)
            }
        }
        return true
    }

    /// So many bytes of experts more are here.
    private func count(_ bytes: Int) { state.withLock { $0.loaded += UInt64(bytes) } }

    private func isMine(_ expert: ExpertID) -> Bool { store.claim(expert, by: id) == .mine }

    private func claim(_ expert: ExpertID, _ transfer: inout WeightTransfer) throws {
        let claim = store.claim(expert, by: id)
        if claim == .here { count(store.chunks.expertBytes) }
        try handle(.claimed(expert, claim), &transfer)
    }

    private func handle(_ event: WeightTransfer.Event, _ transfer: inout WeightTransfer) throws {
        try perform(transfer.on(event, at: .now), &transfer)
    }

    private func perform(_ actions: [WeightTransfer.Action], _ transfer: inout WeightTransfer) throws {
        for action in actions {
            switch action {
            case .look(let expert): next = expert
            case .claim(let expert): try claim(expert, &transfer)
            case .resume(let expert, _) where !isMine(expert), .keep(let expert, _) where !isMine(expert),
                .finish(let expert) where !isMine(expert):
                try claim(expert, &transfer)
            case .ask(let question):
                // What cannot be sent now is asked again, as what is lost on the way; and must not wait in the queue.
                guard let connection, connection.isMade else { continue }
                _ = try question.encoded(digest: store.model.digest).withUnsafeBytes {
                    try connection.socket.send($0, more: false)
                }
            case .reconnect:
                if !isSilenceReported {
                    isSilenceReported = true
                    log(
                        .warning, "nothing comes from the coordinator's weights port; a firewall must let it through",
                        [("endpoint", endpoint.description)])
                }
                try connect()
                // Another coordinator may be swifter.
                store.releaseClaims(of: id)
            case .resume(let expert, let digests):
                manifests[expert] = digests
                let kept = try store.resume(expert, digests)
                count(kept.reduce(0) { $0 + store.chunks.range($1).count })
                try handle(.resumed(expert, kept: kept), &transfer)
            case .keep(let expert, let index):
                try store.keep(expert, index, incoming.bytes)
                count(store.chunks.range(index).count)
            case .finish(let expert): try store.finish(expert, manifests.removeValue(forKey: expert) ?? [])
            case .drop(let cause): counters.count(cause, "from the coordinator's weights")
            case .fail(let expert):
                throw ClusterError(
                    "chunks of expert \(expert.expert) of layer \(expert.layer) came again and again with other digests "
                        + "than the coordinator's manifest says: check its disk and memory, then start it anew")
            }
        }
    }

    private func noticeConnections(_ transfer: inout WeightTransfer) throws {
        while let event = try connection?.monitor.next() {
            connection?.isMade = event == .connected
            if event == .connected { try handle(.reconnected, &transfer) }
        }
    }

    private func receive(_ transfer: inout WeightTransfer) throws {
        // Not without end, so that a load that is not wanted any more ends soon.
        for _ in 0..<32 {
            guard let socket = connection?.socket, try socket.receive(incoming) else { return }
            do { try receiveAnswer(from: socket, &transfer) } catch let error as WireError {
                counters.count(error.cause, "from the coordinator's weights")
            }
            try socket.discardRest(incoming)
        }
    }

    private func receiveAnswer(from socket: ZMQSocket, _ transfer: inout WeightTransfer) throws {
        let answer = try WeightsMessage.decode(incoming.bytes, model: store.model, arena: arena)
        guard try socket.receiveMore(incoming), !incoming.hasMore else { throw WireError(.wrongFrameCount) }
        let bytes = incoming.bytes
        state.withLock { $0.received += UInt64(bytes.count) }
        switch answer {
        case .manifest(let expert):
            guard bytes.count == store.chunks.manifestBytes else { throw WireError(.wrongFrameSize) }
            try handle(.manifest(expert, Chunks.digests(bytes)), &transfer)
        case .chunk(let expert, let index):
            guard bytes.count == store.chunks.range(index).count else { throw WireError(.wrongFrameSize) }
            try handle(.chunk(expert, index, SHA256.ofLeaves(bytes)), &transfer)
        }
    }
}
