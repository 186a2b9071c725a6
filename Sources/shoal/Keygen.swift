import Cluster

enum Keygen: Command {
    static let name = "keygen"
    static let summary = "Make a key pair for a coordinator or a worker."
    static let operands = ["NAME"]
    static let discussion = """
        Writes NAME.key, the private key, which only its owner can read and which stays on its machine (--key), and
        NAME.pub, the public key, for the others: the coordinator's --authorized holds the lines of all workers' .pub
        files, and each worker's --coordinator-key is the coordinator's. NAME may have folders in front. Existing files
        are never overwritten.
        """
    static let flags: [Flag] = []

    static func run(_ arguments: Arguments) async throws {
        guard let name = arguments.operands.first else { throw UsageError("NAME is missing, such as worker1") }
        let pair = try KeyFile.generate(path: name)
        try printOutput("\(name).key  private\n\(name).pub  public   \(pair.publicKey)")
    }
}
