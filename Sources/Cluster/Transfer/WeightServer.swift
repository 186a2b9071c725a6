import Checkpoints

/// Gives workers that have no checkpoint the tensors of experts, and nothing else, on a socket and a thread of its own: a
/// page that must be read from the disk delays no heartbeat and no batch.
final class WeightServer: Sendable {
    private let stopping = StopFlag()
    private let wakeup: Wakeup
    private let manifests: ManifestBook
    private let thread: BackgroundThread

    /// Not bound yet; the context has two threads.
    static func makeSocket(in context: ZMQContext) throws -> ZMQSocket {
        let socket = try ZMQSocket(.router, in: context)
        try socket.limit(frameBytes: WeightsMessage.maximumBytes, queue: 1000)
        // Twice what a worker asks for at once: what was asked for again may be there a second time.
        try socket.yieldToOthers(queue: 2 * Int32(ChunkWindow.sizes.upperBound))
        return socket
    }

    /// - Parameters:
    ///   - socket: from ``makeSocket(in:)``, bound.
    ///   - members: only these are answered, each by its own key.
    ///   - wakeup: to be signalled when the authorised keys have changed.
    init(
        _ checkpoint: Checkpoint, model: ModelIdentity, socket: ZMQSocket, members: Bulletin, admitted: AdmittedKeys?,
        wakeup: Wakeup, counters: DropCounters, log: Log
    ) throws {
        let manifests = ManifestBook(checkpoint, digest: model.digest) { wakeup.signal() }
        thread = BackgroundThread("cluster-weights", yields: true) { [stopping] in
            do {
                let conversation = WeightConversation(
                    checkpoint, model: model, manifests: manifests, socket: socket, members: members,
                    admitted: admitted, counters: counters)
                var poller = ZMQPoller([socket], wakeup: wakeup)
                while !stopping.isSet {
                    _ = try poller.wait(milliseconds: 60_000)
                    while try !stopping.isSet && conversation.handleOne() {}
                }
            } catch {
                log(
                    .error, "the weights socket failed; workers without the checkpoint get nothing",
                    [("error", "\(error)")])
            }
        }
        self.wakeup = wakeup
        self.manifests = manifests
    }

    /// Ends its threads.
    func stop() {
        stopping.set()
        wakeup.signal()
        thread.join()
        manifests.end()
    }
}
