import Cluster
import Foundation

/// How the cluster's connections are protected, as the command line says.
enum KeyFlags {
    private static let key = Flag("key", "FILE", "This machine's private key, which `shoal keygen` makes.")
    private static let insecure = Flag(
        "insecure", nil, "Take any address without keys: whoever reaches it reads prompts and forges answers.")
    static let coordinator = [
        key,
        Flag(
            "authorized", "PATH",
            "Public keys of workers: a file with one a line, or a folder of *.pub; read again when it changes."),
        insecure,
    ]
    static let worker = [
        key,
        Flag(
            "coordinator-key", "KEY",
            "The coordinator's public key, or the file that holds it; of several, in the order of --join, by commas."),
        insecure,
    ]

    static func coordinator(_ arguments: Arguments) throws -> Protection<CoordinatorKeys> {
        try protection(arguments, "authorized") {
            CoordinatorKeys(own: $0, authorized: AuthorizedKeysPath($1))
        }
    }

    /// The coordinators that --join names, each with its own key where there are keys.
    static func coordinators(_ arguments: Arguments) throws -> [CoordinatorAddress] {
        let endpoints = list(try arguments.required("join"))
        guard Set(endpoints).count == endpoints.count else {
            throw UsageError("\(arguments.source(of: "join")) names a coordinator twice")
        }
        let keys = arguments.string("coordinator-key").map(list)
        guard keys == nil || keys?.count == endpoints.count else {
            throw UsageError(
                "\(arguments.source(of: "join")) names \(endpoints.count) coordinators and "
                    + "\(arguments.source(of: "coordinator-key")) \(keys?.count ?? 0) keys; expected "
                    + "as many, in the same order")
        }
        return try endpoints.enumerated().map { index, endpoint in
            let protection = try protection(arguments, "coordinator-key") { own, _ in
                WorkerKeys(own: own, coordinator: try KeyFile.publicKey(keys?[index] ?? ""))
            }
            return try CoordinatorAddress(endpoint, protection: protection)
        }
    }

    private static func list(_ text: String) -> [String] {
        text.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
    }

    /// `others` is the flag that says whom to trust.
    private static func protection<Keys>(
        _ arguments: Arguments, _ others: String, _ keys: (KeyPair, String) throws -> Keys
    ) throws -> Protection<Keys> {
        let names = (key: arguments.source(of: "key"), others: arguments.source(of: others))
        switch (arguments.string("key"), arguments.string(others), arguments.has("insecure")) {
        case (nil, nil, let isInsecure): return isInsecure ? .insecure : .thisMachineOnly
        case (let key?, let other?, false): return .keys(try keys(KeyFile.keyPair(path: key), other))
        case (_, _, true):
            throw UsageError(
                "\(arguments.source(of: "insecure")) does without keys; take away \(names.key) and \(names.others), or it"
            )
        case (nil, _, _): throw UsageError("\(names.others) needs --key as well, this machine's private key")
        case (_, nil, _): throw UsageError("\(names.key) needs --\(others) as well, to say whom to trust")
        }
    }
}
