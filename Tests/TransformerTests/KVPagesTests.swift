import Checkpoints
import TestSupport
import Testing
import Transformer

/// Keys and values in the pages of a shared pool.
@Suite struct KVPagesTests {
    struct Case: CustomStringConvertible, Sendable {
        let reference: Reference
        let format: KVFormat
        var description: String { "\(reference) \(format)" }

        func model() throws -> Transformer {
            try Transformer(
                checkpoint: reference.checkpoint, precision: format == .float32 ? .exact : .int8, threads: 2)
        }

        func tokens(_ count: Int, seed: UInt64) -> [Int32] {
            var generator = SeededGenerator(seed: seed)
            return reference.randomTokens(count, using: &generator)
        }
    }

    static let cases = Reference.all.flatMap { reference in
        KVFormat.allCases.map { Case(reference: reference, format: $0) }
    }

    @Test("a sliding-window layer needs no page behind its window", arguments: cases)
    func slidingWindow(test: Case) throws {
        let model = try test.model()
        let experts = model.makeLocalExperts()
        let tokens = test.tokens(230, seed: 1)
        let whole = try model.run(tokens, kvFormat: test.format)
        let layout = model.kvLayout(format: test.format)
        let window = try #require(layout.window)
        let longest = 40
        // What the layers that see everything take, and what lies between the first key and the last token of a segment.
        let needed = KVLayout.blocks(positions: window + longest) + 1
        let pool = try model.makePool(
            pageCount: KVLayout.blocks(positions: tokens.count) + needed, format: test.format)
        var free = (0..<UInt32(pool.pageCount)).map { $0 }
        func takePage() throws -> UInt32 {
            let page = free.popLast()
            return try #require(page, "more than \(needed) pages for the sliding layers")
        }
        var generator = SeededGenerator(seed: 2)
        var pages = KVPages()
        var logits: [Float] = []
        var position = 0
        while position < tokens.count {
            for block in pages.sliding.indices.prefix(layout.firstSlidingBlock(for: position))
            where pages.sliding[block] != KVPages.none {
                overwrite(pages.sliding[block], of: pool)
                free.insert(pages.sliding[block], at: 0)
                pages.sliding[block] = KVPages.none
            }
            let end = min(tokens.count, position + .random(in: 1...longest, using: &generator))
            while pages.full.count < KVLayout.blocks(positions: end) {
                pages.full.append(try takePage())
                pages.sliding.append(try takePage())
            }
            let segment = Segment(
                pool: pool, pages: pages, position: position, tokens: Array(tokens[position..<end]), logits: .all)
            logits += try model.forward([segment], experts: experts) { Array($0) }
            position = end
        }
        #expect(pages.sliding.contains(KVPages.none))
        #expect(sameBytes(logits, whole))
    }

    @Test("segments of one batch share the pages of a prefix, and leave them as they are", arguments: cases)
    func sharedPrefix(test: Case) throws {
        let model = try test.model()
        let experts = model.makeLocalExperts()
        let prefix = test.tokens(2 * KVLayout.pageTokens, seed: 3)
        let pool = try model.makePool(pageCount: 12, format: test.format)
        let shared = KVPages(full: [0, 1], sliding: [2, 3])
        try model.forward(
            [Segment(pool: pool, pages: shared, position: 0, tokens: prefix, logits: .none)], experts: experts
        ) { _ in }
        for page in UInt32(4)..<12 { overwrite(page, of: pool) }
        let before = (0..<12).map { bytes(of: $0, pool) }

        let tails = [test.tokens(40, seed: 4), test.tokens(3, seed: 5)]
        let segments = [
            Segment(
                pool: pool, pages: KVPages(full: [0, 1, 10, 5], sliding: [2, 3, 7, 8]), position: prefix.count,
                tokens: tails[0], logits: .all),
            Segment(
                pool: pool, pages: KVPages(full: [0, 1, 4], sliding: [2, 3, 9]), position: prefix.count,
                tokens: tails[1], logits: .all),
        ]
        let logits = try model.forward(segments, experts: experts) { Array($0) }
        let alone = try tails.map { tail in
            try model.run(prefix + tail, kvFormat: test.format)
                .suffix(tail.count * test.reference.config.vocabularySize)
        }
        #expect(sameBytes(logits, alone.flatMap { $0 }))
        for page in [0, 1, 2, 3, 6, 11] {
            #expect(bytes(of: page, pool) == before[page], "page \(page) is nobody's to write")
        }
    }

    private func overwrite(_ page: UInt32, of pool: KVPool) {
        // Not a number in every format.
        (pool.base + Int(page) * pool.layout.pageBytes).initializeMemory(
            as: UInt8.self, repeating: 0xff, count: pool.layout.pageBytes)
    }

    private func bytes(of page: Int, _ pool: KVPool) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: pool.base + page * pool.layout.pageBytes, count: pool.layout.pageBytes))
    }

    @Test("a segment whose pages do not cover what it reads and writes is refused")
    func refusesSegments() throws {
        let reference = try #require(Reference.all.first { $0.name == "tiny-a" })  // a window of 16
        let model = try Transformer(checkpoint: reference.checkpoint, precision: .int8, threads: 1)
        let experts = model.makeLocalExperts()
        let pool = try model.makePool(pageCount: 4)
        func refusal(_ full: [UInt32], _ sliding: [UInt32], _ position: Int, _ count: Int) -> String? {
            let segment = Segment(
                pool: pool, pages: KVPages(full: full, sliding: sliding), position: position,
                tokens: Array(repeating: 1, count: count), logits: .none)
            do {
                try model.forward([segment], experts: experts) { _ in }
                return nil
            } catch { return (error as? ModelError)?.description }
        }
        #expect(refusal([0, 1], [2, 3], 40, 24) == nil)
        #expect(refusal([0, 1], [.max, 3], 47, 1) == nil)
        #expect(refusal([0, 1], [.max, 3], 46, 1)?.contains("no page for block 0 of the sliding layers") == true)
        #expect(refusal([.max, 1], [2, 3], 47, 1)?.contains("no page for block 0 of the full layers") == true)
        #expect(refusal([0, 4], [2, 3], 47, 1)?.contains("page 4 for block 1") == true)
        #expect(refusal([0, 1], [2], 47, 1)?.contains("1 pages for the sliding layers; expected 2") == true)
        #expect(refusal([0, 1], [2, 3], 47, 18)?.contains("expected 3") == true)
        #expect(refusal([0, 1], [2, 3], 47, 0)?.contains("0 tokens") == true)
        #expect(refusal([0, 1], [2, 3], -1, 1)?.contains("position -1") == true)
        #expect(refusal([0, 1], [2, 3], .max, 1)?.contains("131072 positions") == true)

        let other = try #require(Reference.all.first { $0.name == "tiny-b" })
        let foreign = try Transformer(checkpoint: other.checkpoint, precision: .int8, threads: 1).makePool(pageCount: 4)
        let segment = Segment(
            pool: foreign, pages: KVPages(full: [0], sliding: [1]), position: 0, tokens: [1], logits: .none)
        #expect(throws: ModelError.self) { try model.forward([segment], experts: experts) { _ in } }
    }

    @Test("a pool that cannot be had is refused", arguments: [0, -1, 0xffff_fffe, 0xffff_ffff, .max])
    func refusesPools(pageCount: Int) throws {
        let reference = try #require(Reference.all.first { $0.name == "tiny-b" })
        let model = try Transformer(checkpoint: reference.checkpoint, precision: .exact, threads: 1)
        #expect(throws: ModelError.self) { try model.makePool(pageCount: pageCount) }
    }

    @Test(
        "gpt-oss-20b: 131,072 tokens take 3.2 GB in bf16, 1.7 GB in int8",
        arguments: [
            (KVFormat.bf16, 786_432, 3_224_371_200), (.int8, 417_792, 1_712_947_200),
        ])
    func memory(format: KVFormat, pageBytes: Int, total: Int) throws {
        var config = try #require(Reference.all.first).config
        config.layerTypes = (0..<24).map { $0.isMultiple(of: 2) ? .slidingAttention : .fullAttention }
        (config.keyValueHeadCount, config.headDimension, config.slidingWindow) = (8, 64, 128)
        let layout = KVLayout(config: config, format: format)
        #expect(layout.pageBytes == pageBytes)
        // While the last token is computed.
        let blocks = KVLayout.blocks(positions: 131_072)
        let sliding = blocks - layout.firstSlidingBlock(for: 131_071)
        #expect((blocks + sliding) * layout.pageBytes == total)
    }

    @Test("where all layers are of one kind, the other has no pages") func oneKind() throws {
        var config = try #require(Reference.all.first).config
        config.layerTypes = [.fullAttention, .fullAttention]
        #expect(KVLayout(config: config, format: .bf16).window == nil)
        config.layerTypes = [.slidingAttention]
        #expect(!KVLayout(config: config, format: .bf16).hasFullLayers)
    }
}
