import Checkpoints
import Cluster
import Foundation
import TestSupport
import Testing

@Suite struct WeightCacheTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "cache-\(UUID().uuidString)")
    private let log = LogRecorder()
    /// Three chunks, the last one shorter.
    private let bytes: [UInt8]
    private let description: ModelDescription
    private let digests: [ChunkDigest]
    private let chunks: Chunks

    init() throws {
        let config = try ExpertConfig(
            layerCount: 2, expertCount: 4, hiddenSize: 384, intermediateSize: 512, format: .mxfp4, swigluLimit: 7,
            swigluAlpha: 1.7)
        let chunks = Chunks(expertBytes: ExpertLayout(config).byteCount)
        var random = SeededGenerator(seed: 1)
        let bytes = (0..<chunks.expertBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        self.bytes = bytes
        self.chunks = chunks
        digests = (0..<chunks.count).map { index in
            bytes[chunks.range(index)].withUnsafeBytes { SHA256.ofLeaves($0) }
        }
        description = ModelDescription(
            digest: [UInt8](repeating: 5, count: 32), experts: config, weightsEndpoint: "tcp://127.0.0.1:9")
    }

    private func store(limit: Int? = nil) throws -> WeightStore {
        WeightStore(description, cache: try WeightCache(directory: folder, limit: limit, log: log.log))
    }

    private func keep(_ indices: some Sequence<Int>, of expert: ExpertID, in store: WeightStore) throws {
        for index in indices { try bytes[chunks.range(index)].withUnsafeBytes { try store.keep(expert, index, $0) } }
    }

    private func fill(_ store: WeightStore, _ expert: ExpertID) throws {
        _ = try store.resume(expert, digests)
        try keep(0..<chunks.count, of: expert, in: store)
        try store.finish(expert, digests)
    }

    private func holds(_ store: WeightStore, _ expert: ExpertID) -> Bool {
        guard let parts = store.parts(layer: expert.layer, expert: expert.expert) else { return false }
        return withExtendedLifetime(parts.owner) {
            UnsafeRawBufferPointer(start: parts.gateUp.weights, count: bytes.count).elementsEqual(bytes)
        }
    }

    private var files: [String] {
        let names = FileManager.default.subpaths(atPath: folder.path) ?? []
        return names.filter { $0.contains("/") }.map { String($0.split(separator: "/")[1]) }.sorted()
    }

    private func expert(_ index: Int) -> ExpertID { ExpertID(layer: index / 4, expert: index % 4) }

    @Test("what was brought here is found again, by another process too, and is the same to the byte")
    func roundTrip() throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let first = try store()
        #expect(!first.look(expert(1)))
        try fill(first, expert(1))
        #expect(holds(first, expert(1)) && files == ["0-1.expert"])
        let second = try store()
        #expect(second.parts(layer: 0, expert: 1) == nil)
        #expect(second.look(expert(1)) && holds(second, expert(1)))
        #expect(!second.look(expert(2)))
    }

    @Test("without a cache the same is held in memory")
    func memory() throws {
        let store = WeightStore(description, cache: nil)
        try fill(store, expert(3))
        #expect(holds(store, expert(3)) && store.look(expert(3)))
    }

    @Test("a part that was kept is taken up again, and what is damaged in it is not")
    func partial() throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        do {
            let first = try store()
            #expect(try first.resume(expert(0), digests) == [])
            try keep([0, 2], of: expert(0), in: first)
            #expect(try first.resume(expert(0), digests) == [0, 2], "without a new start")
        }
        #expect(files == ["0-0.expert.partial"])
        let path = folder.appending(path: hexadecimal(description.digest)).appending(path: "0-0.expert.partial")
        do {
            let second = try store()
            #expect(try second.resume(expert(0), digests) == [0, 2])
        }
        var content = try Data(contentsOf: path)
        content[4096 + 100] ^= 1
        try content.write(to: path)
        let third = try store()
        #expect(try third.resume(expert(0), digests) == [2])
        try keep([0, 1], of: expert(0), in: third)
        try third.finish(expert(0), digests)
        #expect(holds(third, expert(0)) && files == ["0-0.expert"])
    }

    @Test("while one process writes an expert, another holds its own in memory")
    func twoWriters() throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let (first, second) = (try store(), try store())
        _ = try first.resume(expert(0), digests)
        try fill(second, expert(0))
        #expect(holds(second, expert(0)) && files == ["0-0.expert.partial"])
        try keep(0..<chunks.count, of: expert(0), in: first)
        try first.finish(expert(0), digests)
        #expect(holds(first, expert(0)) && files == ["0-0.expert"])
    }

    @Test(
        "an expert whose file cannot be written any more goes on in memory, with what the file has",
        arguments: [0, 1, 2])
    func brokenWriting(written: Int) throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let store = try store()
        _ = try store.resume(expert(0), digests)
        try keep(0..<written, of: expert(0), in: store)
        try replacePartialFile(openedFor: O_RDONLY)
        try keep(written..<chunks.count, of: expert(0), in: store)
        try store.finish(expert(0), digests)
        #expect(holds(store, expert(0)) && files == [])
    }

    @Test("what can be neither written nor read back intact is fetched again, and an error says so", arguments: [0, 1])
    func brokenFile(intact: Int) throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let store = try store()
        _ = try store.resume(expert(0), digests)
        try keep([0, 1], of: expert(0), in: store)
        if intact == 0 {
            try replacePartialFile(openedFor: O_WRONLY, truncated: true)
        } else {
            let path = folder.appending(path: hexadecimal(description.digest)).appending(path: "0-0.expert.partial")
            let file = try FileHandle(forUpdating: path)
            try file.seek(toOffset: 4096)
            try file.write(contentsOf: [~bytes[0]])
            try file.close()
        }
        try replacePartialFile(openedFor: O_RDONLY)
        #expect(throws: ClusterError.self) { try keep([2], of: expert(0), in: store) }
        #expect(try store.resume(expert(0), digests) == (intact == 0 ? [] : [1]))
        try keep(0..<chunks.count, of: expert(0), in: store)
        try store.finish(expert(0), digests)
        #expect(holds(store, expert(0)) && files == [])
    }

    @Test("an expert whose file cannot get its name is held in memory")
    func noName() throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let store = try store()
        _ = try store.resume(expert(0), digests)
        try keep(0..<chunks.count, of: expert(0), in: store)
        try FileManager.default.removeItem(at: folder)
        try store.finish(expert(0), digests)
        #expect(holds(store, expert(0)) && log.contains("held in memory"))
    }

    /// Puts another descriptor in the place of the store's, of the same file.
    private func replacePartialFile(openedFor access: Int32, truncated: Bool = false) throws {
        let path = folder.appending(path: hexadecimal(description.digest)).appending(path: "0-0.expert.partial").path
        let own = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { Int32($0) }.filter {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == path
        }
        let other = open(path, access | (truncated ? O_TRUNC : 0))
        defer { close(other) }
        try #require(own.count == 1 && other >= 0 && dup2(other, own[0]) == own[0])
    }

    @Test(
        "a file that any bit, cut or growth has changed is removed, and never used", arguments: 0..<20 as Range<UInt64>)
    func damage(seed: UInt64) throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try fill(store(), expert(0))
        let path = folder.appending(path: hexadecimal(description.digest)).appending(path: "0-0.expert")
        var content = try Data(contentsOf: path)
        var random = SeededGenerator(seed: seed)
        let bit: UInt8 = 1 << UInt8.random(in: 0..<8, using: &random)
        switch seed % 4 {
        case 0: content[Int.random(in: 0..<4096, using: &random)] ^= bit
        case 1: content[Int.random(in: 4096..<content.count, using: &random)] ^= bit
        case 2: content = content.prefix(Int.random(in: 0..<content.count, using: &random))
        default: content += Data([0])
        }
        try content.write(to: path)
        let store = try store()
        #expect(!store.look(expert(0)) && store.parts(layer: 0, expert: 0) == nil)
        #expect(files == [] && log.contains("damaged"))
    }

    @Test("the folder keeps to its size: what was used the longest ago goes, what is in use stays")
    func limit() throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let size = chunks.expertBytes + 4096
        do {
            let first = try store(limit: 3 * size)
            for index in 0..<3 { try fill(first, expert(index)) }
            try fill(first, expert(3))
            #expect(holds(first, expert(3)) && files.count == 3, "the fourth has no room while three are used")
            #expect(log.contains("memory alone"))
        }
        let second = try store(limit: 3 * size)
        // The first is used again, so the second is now the oldest.
        #expect(second.look(expert(0)))
        try fill(second, expert(4))
        #expect(files == ["0-0.expert", "0-2.expert", "1-0.expert"])
        try fill(second, expert(5))
        #expect(files == ["0-0.expert", "1-0.expert", "1-1.expert"])
        second.keepOnly(ExpertSet(shape: ModelShape(layers: 2, experts: 4, hiddenSize: 384, intermediateSize: 512)))
        #expect(second.parts(layer: 0, expert: 0) == nil)
        try fill(second, expert(6))
        #expect(files == ["1-0.expert", "1-1.expert", "1-2.expert"], "what is not used any more may go")
    }
}
