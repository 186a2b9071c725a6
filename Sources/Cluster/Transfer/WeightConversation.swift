import Checkpoints

/// Checks and answers what workers ask on the weights socket.
final class WeightConversation {
    private let checkpoint: Checkpoint
    private let model: ModelIdentity
    private let chunks: Chunks
    private let manifests: ManifestBook
    private let socket: ZMQSocket
    private let counters: DropCounters
    private let members: Bulletin
    private var gate: KeyGate<WeightsPeer>
    private var connections: WeightsConnections
    private let arena = WireArena(capacity: 4096)
    private let incoming = ZMQMessage(), outgoing = ZMQMessage()
    /// Who waits for manifests that are being made: each worker for so many as it fetches experts at once.
    private var waiting: [WeightsPeer: Set<ExpertID>] = [:]

    init(
        _ checkpoint: Checkpoint, model: ModelIdentity, manifests: ManifestBook, socket: ZMQSocket, members: Bulletin,
        admitted: AdmittedKeys?, counters: DropCounters
    ) {
        self.checkpoint = checkpoint
        self.model = model
        chunks = Chunks(of: model)
        self.manifests = manifests
        self.socket = socket
        self.counters = counters
        self.members = members
        gate = KeyGate(admitted)
        connections = WeightsConnections(admitted)
    }

    /// Answers whoever waits for a manifest that is known by now, and then one question; false when there is none.
    func handleOne() throws -> Bool {
        connections.cutRevoked()
        try answerWaiting()
        guard try socket.receive(incoming) else { return false }
        let peer = WeightsPeer(incoming.bytes)
        do {
            guard let peer else { throw WireError(.unknownSender) }
            guard try socket.receiveMore(incoming) else { throw WireError(.wrongFrameCount) }
            let (isMember, owner) = members.membership(of: peer.worker)
            let key = try gate.check(incoming, from: peer, owner: owner, on: socket)
            guard isMember else { throw WireError(.unknownSender) }
            try connections.heard(incoming, from: peer, key: key, on: socket)
            guard !incoming.hasMore else { throw WireError(.wrongFrameCount) }
            let question = try WeightsMessage.decode(incoming.bytes, model: model, arena: arena)
            switch question {
            case .chunk(let expert, let index): try send(expert, index, question, to: peer)
            case .manifest(let expert):
                guard waiting[peer, default: []].count < WeightTransfer.width * 2 else { throw WireError(.outOfBounds) }
                waiting[peer, default: []].insert(expert)
            }
        } catch let error as WireError {
            counters.count(error.cause, "on the weights socket, from \(peer?.worker.description ?? "nobody")")
        }
        try socket.discardRest(incoming)
        return true
    }

    private func answerWaiting() throws {
        for (peer, experts) in waiting {
            guard connections.contains(peer), members.membership(of: peer.worker).isMember else {
                waiting[peer] = nil
                continue
            }
            for expert in experts {
                guard let manifest = manifests.manifest(of: expert) else { continue }
                try outgoing.allocate(manifest.count).copyBytes(from: manifest)
                try sendOutgoing(as: .manifest(expert), to: peer)
                waiting[peer]?.remove(expert)
            }
            if waiting[peer]?.isEmpty == true { waiting[peer] = nil }
        }
    }

    private func send(_ expert: ExpertID, _ index: Int, _ question: WeightsMessage, to peer: WeightsPeer) throws {
        let slices = checkpoint.slices(of: expert, chunks.range(index))
        if let whole = slices.first, slices.count == 1 {
            // Pages are read from the disk here, and not by the thread that sends.
            Checkpoint.touch(whole)
            try outgoing.refer(to: whole, of: checkpoint)
        } else {
            var rest = try outgoing.allocate(chunks.range(index).count)[...]
            for slice in slices {
                UnsafeMutableRawBufferPointer(rebasing: rest).copyMemory(from: slice)
                rest = rest.dropFirst(slice.count)
            }
        }
        try sendOutgoing(as: question, to: peer)
    }

    /// An answer that cannot be sent now is lost: the worker asks again.
    private func sendOutgoing(as header: WeightsMessage, to peer: WeightsPeer) throws {
        // Its key may have been revoked while the disk was read.
        guard gate.admits(members.membership(of: peer.worker).owner) else { return }
        guard try peer.withUnsafeBytes({ try socket.send($0, more: true) }) == .sent else { return }
        _ = try header.encoded(digest: model.digest).withUnsafeBytes { try socket.send($0, more: true) }
        _ = try socket.send(outgoing, more: false)
    }
}
