/// Answers libzmq's questions whom to admit (ZAP, ZeroMQ's RFC 27), and keeps up with changes of the authorised keys, on
/// a thread of its own, so that neither waits for anything else.
final class Authenticator: Sendable {
    let admitted: AdmittedKeys
    private let stopping = StopFlag()
    private let wakeup: Wakeup
    private let thread: BackgroundThread

    /// Answers for all sockets of `context`. Must exist before the first of them is bound: libzmq lets everyone in where
    /// nobody answers.
    /// - Parameter onChange: called on the thread, when the authorised keys have changed.
    /// - Throws: ``ClusterError`` where they cannot be read.
    init(
        _ source: AuthorizedKeysPath, in context: ZMQContext, counters: DropCounters, log: Log,
        onChange: @escaping @Sendable () -> Void
    ) throws {
        let stamp = source.stamp()
        let keys = try source.read()
        let socket = try ZMQSocket(.reply, in: context)
        try socket.bindToAuthenticate()
        log(.info, "only authorised keys are admitted", [("file", source.path), ("keys", String(keys.count))])
        admitted = AdmittedKeys(keys)
        wakeup = try Wakeup()
        thread = BackgroundThread("cluster-keys") { [admitted, stopping, wakeup] in
            var desk = Desk(
                socket: socket, source: source, admitted: admitted, watch: KeyWatch(taken: stamp), counters: counters,
                log: log, onChange: onChange)
            var poller = ZMQPoller([socket], wakeup: wakeup)
            while !stopping.isSet {
                do {
                    _ = try poller.wait(milliseconds: KeyWatch<[FileStamp]>.settling.milliseconds)
                    try desk.turn()
                } catch {
                    return log(.error, "nobody can be admitted any more", [("error", "\(error)")])
                }
            }
        }
    }

    /// Ends the thread. From now on nobody is asked, and whoever connects carries no key.
    func stop() {
        stopping.set()
        wakeup.signal()
        thread.join()
    }
}

/// What the thread of an ``Authenticator`` works with.
private struct Desk {
    let socket: ZMQSocket
    let source: AuthorizedKeysPath
    let admitted: AdmittedKeys
    var watch: KeyWatch<[FileStamp]>
    let counters: DropCounters
    let log: Log
    let onChange: @Sendable () -> Void
    private let incoming = ZMQMessage()
    /// Whom the log has told of; no more than a flood of new keys may make it remember.
    private var refused: Set<PublicKey> = []
    private var nextLook = ContinuousClock.now

    init(
        socket: ZMQSocket, source: AuthorizedKeysPath, admitted: AdmittedKeys, watch: KeyWatch<[FileStamp]>,
        counters: DropCounters, log: Log, onChange: @escaping @Sendable () -> Void
    ) {
        self.socket = socket
        self.source = source
        self.admitted = admitted
        self.watch = watch
        self.counters = counters
        self.log = log
        self.onChange = onChange
    }

    mutating func turn() throws {
        if ContinuousClock.now >= nextLook {
            nextLook = .now + KeyWatch<[FileStamp]>.settling
            look(at: .now)
        }
        // Not without end, so that a flood of connections does not keep a revoked key in force.
        for _ in 0..<256 { guard try answerOne() else { return } }
    }

    private mutating func look(at now: ContinuousClock.Instant) {
        let stamp = source.stamp()
        guard watch.isDue(stamp, at: now) else { return }
        do {
            let (added, removed) = admitted.replace(by: try source.read())
            watch.succeeded(stamp)
            refused = []
            log(
                .info, "the authorised keys have changed",
                [("added", added.joined(separator: ", ")), ("removed", removed.joined(separator: ", "))])
            onChange()
        } catch {
            guard watch.failed(stamp) else { return }
            log(
                .error, "the authorised keys cannot be read; those read before stay in force", [("error", "\(error)")])
        }
    }

    private mutating func answerOne() throws -> Bool {
        guard try socket.receive(incoming) else { return false }
        var frames = [Array(incoming.bytes.prefix(256))]
        while try socket.receiveMore(incoming) {
            if frames.count <= ZAPRequest.frameCount { frames.append(Array(incoming.bytes.prefix(256))) }
        }
        let reply = answer(frames)
        for (index, frame) in reply.enumerated() {
            _ = try frame.withUnsafeBytes { try socket.send($0, more: index + 1 < reply.count) }
        }
        return true
    }

    private mutating func answer(_ frames: [[UInt8]]) -> [[UInt8]] {
        guard let request = ZAPRequest(frames) else { return ZAPRequest.refusal(of: frames) }
        let isAdmitted = admitted.contains(request.key)
        if !isAdmitted {
            counters.count(.unauthorizedKey)
            if refused.count < 1000, refused.insert(request.key).inserted {
                log(
                    .warning, "a connection was refused, for its key is not authorised",
                    [
                        ("address", request.address), ("file", source.path),
                        ("line to add, if it is to join", KeyLine.publicKey(request.key, name: "NAME").text),
                    ])
            }
        }
        return request.reply(admitted: isAdmitted)
    }
}
