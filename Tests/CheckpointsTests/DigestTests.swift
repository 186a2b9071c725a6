import Checkpoints
import Dispatch
import Foundation
import JSON
import Synchronization
import TestSupport
import Testing

@Suite("A digest")
struct DigestTests {
    @Test("is SHA-256")
    func sha256() {
        var hash = SHA256()
        hash.update("ab")
        hash.update("c")
        let digest = hexadecimal(hash.finish())
        #expect(digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test(
        "of leaves is that of their SHA-256s, whoever hashes them",
        arguments: [0, 1, SHA256.leafBytes - 1, SHA256.leafBytes, SHA256.leafBytes + 1, 131_072, 131_073, 1_000_000])
    func leaves(count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
        let leaves = stride(from: 0, to: count, by: SHA256.leafBytes).flatMap { begin in
            digest(bytes[begin..<min(count, begin + SHA256.leafBytes)])
        }
        #expect(bytes.withUnsafeBytes(SHA256.ofLeaves) == digest(leaves[...]))
        #expect(bytes.withUnsafeBytes(SHA256.oneByOne) == leaves)
        #if arch(x86_64)
            #expect(bytes.withUnsafeBytes(SHA256.sideBySide) == leaves)
        #endif
    }

    @Test("is the same for a copy, and another for another config or other weights, with no cache to write to")
    func identity() throws {
        let folder = try small(seed: 1)
        let digest = try Checkpoint(directory: folder.url).digest(cache: .none)
        #expect(digest.count == 32)
        let copy = try TemporaryFolder(copyOf: folder.url)
        #expect(try Checkpoint(directory: copy.url).digest(cache: .none) == digest)
        let other = try small(seed: 2)
        #expect(try Checkpoint(directory: other.url).digest(cache: .none) != digest)
        try folder.change("config.json", ["sliding_window": 64])
        #expect(try Checkpoint(directory: folder.url).digest(cache: .none) != digest)
    }

    @Test("is remembered until the file changes")
    func remembered() throws {
        let home = try TemporaryFolder()
        let cache = DigestCache(environment: ["SHOAL_CACHE": home.url.path])
        let folder = try small(seed: 1)
        let digest = try Checkpoint(directory: folder.url).digest(cache: cache)
        let entries = try FileManager.default.contentsOfDirectory(atPath: home.url.appending(path: "digests").path)
        let entry = "digests/\(try #require(entries.first))"
        #expect(entries.count == 1)

        // What is remembered is what is returned; so the memory can be seen by altering it.
        try home.change(entry, ["sha256": .string(String(repeating: "0", count: 64))])
        #expect(try Checkpoint(directory: folder.url).digest(cache: cache) != digest)
        for spoiled in ["", "{", #"{"sha256":"é"}"#, String(repeating: "[", count: 100_000)] {
            try home.write(Data(spoiled.utf8), to: entry)
            #expect(try Checkpoint(directory: folder.url).digest(cache: cache) == digest, "after \(spoiled.prefix(20))")
        }
        // The same bytes once more: another time of change, so the memory no longer holds.
        try home.change(entry, ["sha256": .string(String(repeating: "0", count: 64))])
        try folder.write(folder.data("model.safetensors"), to: "model.safetensors")
        #expect(try Checkpoint(directory: folder.url).digest(cache: cache) == digest)
    }

    @Test("is computed once when several ask for it at a time")
    func shared() throws {
        let home = try TemporaryFolder()
        let cache = DigestCache(environment: ["SHOAL_CACHE": home.url.path])
        let folder = try small(seed: 1)
        let first = try Checkpoint(directory: folder.url)
        let second = try Checkpoint(directory: folder.url)
        let group = DispatchGroup()
        let reports = Mutex(0)
        let isStarted = Mutex(false)
        _ = try first.digest(cache: cache) { _, _ in
            // The first is in the middle of the file now, so the second has to wait for it.
            guard
                isStarted.withLock({ started in
                    defer { started = true }; return !started
                })
            else { return }
            DispatchQueue.global().async(group: group) {
                _ = try? second.digest(cache: cache) { _, _ in reports.withLock { $0 += 1 } }
            }
        }
        group.wait()
        #expect(reports.withLock { $0 } == 1, "only that it is done, for a file that it did not read")
    }

    @Test("tells how far it is")
    func progress() throws {
        let folder = try small(seed: 1)
        var reports: [(Int, Int)] = []
        _ = try Checkpoint(directory: folder.url).digest(cache: .none) { reports.append(($0, $1)) }
        let size = try folder.data("model.safetensors").count
        #expect(reports.last.map { $0 == (size, size) } == true)
    }

    @Test("is refused when the file changes meanwhile")
    func changing() throws {
        let folder = try small(seed: 1)
        let checkpoint = try Checkpoint(directory: folder.url)
        #expect(throws: CheckpointError.self) {
            _ = try checkpoint.digest(cache: .none) { _, _ in
                _ = chmod(folder.url.appending(path: "model.safetensors").path, 0o600)
            }
        }
    }

    private func small(seed: UInt64) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        var synthesis = Synthesis(.tiny)
        synthesis.config.vocabularySize = 300
        synthesis.config.hiddenSize = 32
        synthesis.config.intermediateSize = 32
        synthesis.layerCount = 1
        synthesis.seed = seed
        try synthesis.write(to: folder.url)
        return folder
    }
}

private func digest(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var hash = SHA256()
    bytes.withUnsafeBytes { hash.update($0) }
    return hash.finish()
}
