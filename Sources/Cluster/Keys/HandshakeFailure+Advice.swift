extension HandshakeFailure {
    /// What the coordinator says of it.
    func advice(toCoordinatorWith keys: CoordinatorKeys?) -> Log.Fields {
        switch self {
        case .notAuthorized: [("found", "its key is not authorised")]
        case .onlyOneHasKeys where keys == nil:
            [
                ("found", "it wants keys, and this coordinator has none"),
                ("remedy", "start this coordinator with --key and --authorized, or that worker without --key"),
            ]
        case .onlyOneHasKeys:
            [
                ("found", "it uses no keys, and this coordinator admits none without"),
                ("remedy", "start that worker with --key and --coordinator-key"),
            ]
        case .wrongKey:
            [
                ("found", "it expects another coordinator's key"),
                ("remedy", "start that worker with --coordinator-key '\(keys?.own.publicKey.description ?? "")'"),
            ]
        case .ended: [("found", "it ended during the handshake")]
        case .malformed: [("found", "it does not speak ZeroMQ")]
        }
    }

    /// What a worker says of it.
    func advice(toWorkerWith keys: WorkerKeys?) -> Log.Fields {
        switch self {
        case .notAuthorized:
            [
                ("found", "the coordinator does not admit this worker's key"),
                ("remedy", "add the worker's NAME.pub to the coordinator's --authorized"),
                ("key", keys?.own.publicKey.description ?? ""),
            ]
        case .onlyOneHasKeys where keys == nil:
            [
                ("found", "the coordinator admits none without keys"),
                ("remedy", "start this worker with --key and --coordinator-key"),
            ]
        case .onlyOneHasKeys:
            [
                ("found", "the coordinator uses no keys"),
                ("remedy", "start the coordinator with --key and --authorized, or this worker without --key"),
            ]
        case .wrongKey where keys != nil, .ended where keys != nil:
            [
                ("found", "the connection ended during the handshake"),
                ("remedy", "see that a coordinator is there, and that --coordinator-key is its key"),
                ("coordinator key", keys?.coordinator.description ?? ""),
            ]
        case .wrongKey, .ended:
            [
                ("found", "the connection ended during the handshake"),
                ("remedy", "see that a coordinator is there; if it uses keys, start this worker with --key too"),
            ]
        case .malformed:
            [("found", "what listens there does not speak ZeroMQ"), ("remedy", "see that --join is its --bind")]
        }
    }
}
