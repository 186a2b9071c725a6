import Foundation

/// Key files on disk: `NAME.key` holds a private key, `NAME.pub` its public one.
public enum KeyFile {
    private static let mostBytes = 1 << 20

    /// Writes a new key pair to `path.key`, which only its owner can read, and `path.pub`.
    /// - Throws: ``ClusterError`` where either file exists already, or cannot be written; then there is neither.
    public static func generate(path: String) throws -> KeyPair {
        let pair = try KeyPair.generate()
        let name = String(path.split(separator: "/").last ?? "")
        guard !name.isEmpty else { throw ClusterError("'\(path)' names no file; expected a name such as worker1") }
        let (privatePath, publicPath) = (path + ".key", path + ".pub")
        let secret = """
            # The private key of \(name), for --key. Whoever can read it can pass for \(name).
            \(KeyLine.privateKey(pair.privateKey).text)

            """
        try write(secret, to: privatePath, mode: 0o600)
        do {
            try write(KeyLine.publicKey(pair.publicKey, name: name).text + "\n", to: publicPath, mode: 0o644)
        } catch {
            unlink(privatePath)
            throw error
        }
        return pair
    }

    /// - Throws: ``ClusterError`` where the file cannot be read, can be read by others than its owner, or holds no
    ///   private key.
    public static func keyPair(path: String) throws -> KeyPair {
        let file = try read(path, orElse: "`shoal keygen` makes a pair of keys")
        guard case .privateKey(let key) = try onlyLine(of: file.text, path) else {
            throw ClusterError("'\(path)' holds a public key; expected the private one, NAME.key")
        }
        guard file.mode & 0o077 == 0 else {
            throw ClusterError(
                "'\(path)' can be read or written by others (mode \(octal(file.mode))), and a private key must not be: "
                    + "chmod 600 \(path)")
        }
        return try KeyPair(privateKey: key)
    }

    /// A public key given as its Z85, or as the path of a file that holds it.
    /// - Throws: ``ClusterError`` where it is neither.
    public static func publicKey(_ textOrPath: String) throws -> PublicKey {
        // A path can look like Z85.
        if access(textOrPath, F_OK) != 0, let key = PublicKey(textOrPath) { return key }
        guard
            case .publicKey(let key, _) = try onlyLine(
                of: read(textOrPath, orElse: "expected a public key, or the file that holds it").text, textOrPath)
        else {
            throw ClusterError("'\(textOrPath)' holds a private key; expected the public one, NAME.pub")
        }
        return key
    }

    /// A file's text and permissions.
    /// - Parameter remedy: what to do where there is no such file.
    static func read(_ path: String, orElse remedy: String) throws -> (text: String, mode: mode_t) {
        // Opening a pipe must not wait for its writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw ClusterError("cannot read '\(path)': \(lastError); \(remedy)") }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw ClusterError("cannot read '\(path)': \(lastError)") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw ClusterError("'\(path)' is not a file") }
        let data: Data
        do { data = try handle.read(upToCount: mostBytes + 1) ?? Data() } catch {
            throw ClusterError("cannot read '\(path)': \(error)")
        }
        guard data.count <= mostBytes else {
            throw ClusterError("'\(path)' is larger than \(mostBytes) bytes; expected a key file")
        }
        guard let text = String(data: data, encoding: .utf8) else {
            throw ClusterError("'\(path)' is not text; expected a key file")
        }
        return (text, status.st_mode & 0o7777)
    }

    static func octal(_ mode: mode_t) -> String { "0" + String(mode, radix: 8) }

    /// The keys of a file with their line numbers.
    /// - Throws: ``ClusterError`` that names the line.
    static func lines(of text: String, _ path: String) throws -> [(number: Int, line: KeyLine)] {
        try text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().compactMap { index, line in
            do { return try KeyLine.parse(line).map { (index + 1, $0) } } catch {
                throw ClusterError("'\(path)', line \(index + 1): \(error)")
            }
        }
    }

    private static func onlyLine(of text: String, _ path: String) throws -> KeyLine {
        let lines = try lines(of: text, path)
        guard lines.count == 1, let first = lines.first else {
            throw ClusterError("'\(path)' holds \(lines.count) keys; expected one")
        }
        return first.line
    }

    private static func write(_ text: String, to path: String, mode: mode_t) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else {
            let remedy = errno == EEXIST ? "; a key is never overwritten: take another name, or remove it first" : ""
            throw ClusterError("cannot write '\(path)': \(lastError)\(remedy)")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            try handle.write(contentsOf: Data(text.utf8))
            try handle.synchronize()
        } catch {
            unlink(path)
            throw ClusterError("cannot write '\(path)': \(error)")
        }
    }

    private static var lastError: String { String(cString: strerror(errno)) }
}
