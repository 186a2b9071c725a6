import Cluster
import Foundation
import TestSupport
import Testing

@Suite struct KeyFileTests {
    private let keys: TestKeys

    init() throws { keys = try TestKeys() }

    private func path(_ name: String) -> String { keys.folder.appending(path: name).path }

    private func complaint<Result>(_ body: () throws -> Result) -> String {
        do {
            _ = try body()
            return "none"
        } catch { return "\(error)" }
    }

    @Test("a key pair is found again in its files, of which only its owner can read the private one")
    func roundTrip() throws {
        let pair = try KeyFile.generate(path: path("worker1"))
        #expect(try KeyFile.keyPair(path: path("worker1.key")).publicKey == pair.publicKey)
        #expect(try KeyFile.publicKey(path("worker1.pub")) == pair.publicKey)
        #expect(try KeyFile.publicKey(pair.publicKey.description) == pair.publicKey)
        let attributes = try FileManager.default.attributesOfItem(atPath: path("worker1.key"))
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(try KeyFile.generate(path: path("worker2")).publicKey != pair.publicKey)
        let text = try String(contentsOfFile: path("worker1.pub"), encoding: .utf8)
        #expect(text == "shoal-public-key \(pair.publicKey) worker1\n")
        #expect(!"\(pair)".contains("private") && "\(pair)" == pair.publicKey.description)
    }

    @Test("no file is overwritten, and a pair is written whole or not at all", arguments: ["key", "pub"])
    func noOverwriting(kind: String) throws {
        try keys.write("mine", to: "worker1.\(kind)")
        #expect(complaint { try KeyFile.generate(path: path("worker1")) }.contains("never overwritten"))
        #expect(try String(contentsOfFile: path("worker1.\(kind)"), encoding: .utf8) == "mine")
        let other = kind == "key" ? "pub" : "key"
        #expect(!FileManager.default.fileExists(atPath: path("worker1.\(other)")))
    }

    @Test(
        "a private key that others can read or write is refused with the remedy",
        arguments: [0o640, 0o604, 0o620, 0o601])
    func permissions(mode: Int) throws {
        _ = try KeyFile.generate(path: path("worker1"))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path("worker1.key"))
        let complaint = complaint { try KeyFile.keyPair(path: path("worker1.key")) }
        #expect(complaint.contains("chmod 600 \(path("worker1.key"))") && complaint.contains(String(mode, radix: 8)))
    }

    @Test("a public key is no private one, and the other way round; neither error repeats the secret")
    func mixedUp() throws {
        _ = try KeyFile.generate(path: path("worker1"))
        let secret = try #require(
            try String(contentsOfFile: path("worker1.key"), encoding: .utf8).split(separator: " ").last
        )
        .trimmingCharacters(in: .newlines)
        let complaints = [
            complaint { try KeyFile.keyPair(path: path("worker1.pub")) },
            complaint { try KeyFile.publicKey(path("worker1.key")) },
            complaint { try AuthorizedKeysPath(path("worker1.key")).read() },
        ]
        #expect(complaints[0].contains("holds a public key"))
        #expect(complaints[1].contains("holds a private key"))
        #expect(complaints[2].contains("holds a private key"))
        #expect(complaints.allSatisfy { !$0.contains(secret) })
    }

    @Test(
        "what is no key file is refused by name, with the line",
        arguments: [
            "shoal-public-key", "shoal-public-key abc", "\n\nssh-ed25519 AAAA me", "shoal-private-key",
            "shoal-public-key \(String(repeating: "~", count: 40))",
            "shoal-public-key \(String(repeating: "#", count: 40))",
            String(repeating: "x", count: 40), "\u{0}", String(repeating: "a\n", count: 100),
        ])
    func malformed(text: String) throws {
        try keys.write(text)
        let complaint = complaint { try AuthorizedKeysPath(keys.path).read() }
        #expect(complaint.contains(keys.path) && complaint.contains("line "), "\(complaint)")
    }

    @Test("what cannot be read, is no file or is larger than any key file is refused")
    func unreadable() throws {
        #expect(complaint { try AuthorizedKeysPath(path("absent")).read() }.contains("No such file"))
        #expect(complaint { try KeyFile.publicKey(keys.folder.path) }.contains("is not a file"))
        #expect(complaint { try KeyFile.publicKey("/dev/zero") }.contains("is not a file"))
        try Data([0xFF, 0xFE, 0x0A]).write(to: URL(fileURLWithPath: path("binary")))
        #expect(complaint { try KeyFile.publicKey(path("binary")) }.contains("is not text"))
        try keys.write(String(repeating: "#", count: 1 << 20 + 1), to: "large")
        #expect(complaint { try KeyFile.publicKey(path("large")) }.contains("larger than"))
    }

    @Test("authorised keys lie in a file with names and comments, or in a folder of .pub files")
    func authorized() throws {
        let pairs = try (0..<3).map { try KeyFile.generate(path: path("worker\($0)")) }
        try keys.write(
            """
            # Rack 1
            shoal-public-key \(pairs[0].publicKey) worker 0, left

            \t shoal-public-key   \(pairs[1].publicKey)\r
            #shoal-public-key \(pairs[2].publicKey) retired
            """)
        let file = try AuthorizedKeysPath(keys.path).read()
        #expect(pairs.map { file.contains($0.publicKey) } == [true, true, false])
        // Neither the private keys nor the list, which has another name.
        let folder = try AuthorizedKeysPath(keys.folder.path).read()
        #expect(folder.count == 3 && pairs.allSatisfy { folder.contains($0.publicKey) })
    }

    @Test("authorised keys that others can write are refused with the remedy")
    func writable() throws {
        try keys.write("# nobody\n", mode: 0o664)
        #expect(complaint { try AuthorizedKeysPath(keys.path).read() }.contains("chmod go-w \(keys.path)"))
    }

    @Test("bytes that were changed at random are never taken for a key that they are not")
    func mutations() throws {
        var random = SeededGenerator(seed: 6)
        let line = KeyLine.publicKey(keys.own.publicKey, name: "name").text
        for _ in 0..<5000 {
            let bytes = Array(line.utf8).mutated(with: [], using: &random)
            guard let text = String(validating: bytes, as: UTF8.self) else { continue }
            guard case .publicKey(let key, _)? = try? KeyLine.parse(text[...]) else { continue }
            #expect(text.contains(key.description))
        }
    }
}
