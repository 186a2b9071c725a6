import Engine
import TestSupport
import Testing

/// What each step computes.
@Suite struct SchedulerTests {
    private static func scheduler(
        sequences: Int = 8, batch: Int = 16, prompts: Int? = nil, scored: Int = 4, pages: Int = 1000, window: Int? = 6
    ) -> Scheduler {
        Scheduler(
            limits: .init(
                sequences: sequences, batchTokens: batch, promptTokens: prompts, scoredTokens: scored),
            geometry: PageGeometry(
                pageTokens: 4, hasFullLayers: true, window: window, chunkTokens: prompts ?? batch),
            pageCount: pages)
    }

    /// A request whose tokens no other has.
    private static func request(_ id: RequestID, tokens: Int, isScored: Bool = false) -> Scheduler.Request {
        var request = Scheduler.Request(id: id, tokens: (0..<tokens).map { Int32(id) * 1000 + Int32($0) })
        request.isScored = isScored
        return request
    }

    /// Computes the next step, after which every sequence with all of its tokens computed draws another.
    @discardableResult
    private static func run(_ scheduler: inout Scheduler) -> Scheduler.Step {
        let step = scheduler.next()
        scheduler.complete(step)
        for work in step.work where work.range.upperBound == scheduler.tokenCount(of: work.id) {
            scheduler.append(7, to: work.id)
        }
        return step
    }

    /// Which sequences have how many tokens in a step.
    private static func counts(_ step: Scheduler.Step) -> [[Int]] { step.work.map { [Int($0.id), $0.range.count] } }

    @Test("without requests a step is empty")
    func empty() {
        var scheduler = Self.scheduler()
        #expect(scheduler.next().work.isEmpty)
    }

    @Test("a prompt is computed in chunks, then its sequence decodes in every step")
    func lifeOfARequest() {
        var scheduler = Self.scheduler()
        scheduler.add(Self.request(1, tokens: 40))
        #expect(
            (0..<6).map { _ in Self.run(&scheduler).work.first?.range } == [
                0..<16, 16..<32, 32..<40, 40..<41, 41..<42, 42..<43,
            ])
        scheduler.remove(1)
        #expect(scheduler.next().work.isEmpty)
        #expect(scheduler.pool.freeCount == 1000)
    }

    @Test("while nothing decodes a step may have more tokens")
    func prompts() {
        var scheduler = Self.scheduler(prompts: 20)
        scheduler.add(Self.request(1, tokens: 24))
        scheduler.add(Self.request(2, tokens: 60))
        #expect(
            (0..<4).map { _ in Self.counts(Self.run(&scheduler)) } == [
                [[1, 20]], [[1, 4], [2, 16]], [[1, 1], [2, 15]], [[1, 1], [2, 15]],
            ])
    }

    @Test("several short prompts share a step's budget")
    func sharing() {
        var scheduler = Self.scheduler()
        for id in 1...3 { scheduler.add(Self.request(RequestID(id), tokens: 7)) }
        #expect(Self.counts(Self.run(&scheduler)) == [[1, 7], [2, 7], [3, 2]])
        #expect(Self.counts(Self.run(&scheduler)) == [[1, 1], [2, 1], [3, 5]])
    }

    @Test("a short prompt goes before long ones, begun or not, and running sequences wait for neither")
    func shortPrompts() {
        var scheduler = Self.scheduler()
        scheduler.add(Self.request(1, tokens: 1))
        for id in 2...4 { scheduler.add(Self.request(RequestID(id), tokens: 500)) }
        // Whichever of four steps it meets, one of which belongs in part to those that waited longest.
        for id in 5...8 {
            Self.run(&scheduler)
            scheduler.add(Self.request(RequestID(id), tokens: 5))
            let step = Self.run(&scheduler)
            #expect(step.work.first?.id == 1 && step.work.contains { $0.id == id && $0.range == 0..<5 })
            #expect(step.work.reduce(0) { $0 + $1.range.count } == 16)
            scheduler.remove(RequestID(id))
        }
    }

    @Test("prompts are finished one after another, the shortest first")
    func shortestFirst() {
        var scheduler = Self.scheduler()
        for (id, tokens) in [(1, 45), (2, 30), (3, 60)] { scheduler.add(Self.request(RequestID(id), tokens: tokens)) }
        var finished: [RequestID] = []
        for _ in 0..<14 {
            for work in Self.run(&scheduler).work where !finished.contains(work.id) {
                if scheduler.tokenCount(of: work.id) > [45, 30, 60][Int(work.id) - 1] { finished.append(work.id) }
            }
        }
        #expect(finished == [2, 1, 3])
    }

    @Test("a flood of short prompts does not stop a long one")
    func flood() {
        var scheduler = Self.scheduler()
        scheduler.add(Self.request(1, tokens: 160))
        var steps = 0
        for id in 2..<200 where scheduler.tokenCount(of: 1) == 160 {
            scheduler.add(Self.request(RequestID(id * 2), tokens: 8))
            scheduler.add(Self.request(RequestID(id * 2 + 1), tokens: 8))
            for work in Self.run(&scheduler).work where work.id != 1 && work.range.upperBound == 8 {
                scheduler.remove(work.id)
            }
            steps += 1
        }
        #expect(steps <= 160, "without that they would wait for ever")
    }

    @Test("requests beyond the limit wait, and are admitted first come, first served")
    func admission() {
        var scheduler = Self.scheduler(sequences: 2)
        for id in 1...4 { scheduler.add(Self.request(RequestID(id), tokens: 1)) }
        #expect(Self.counts(Self.run(&scheduler)) == [[1, 1], [2, 1]])
        #expect(Self.counts(Self.run(&scheduler)) == [[1, 1], [2, 1]])
        scheduler.remove(4)
        scheduler.remove(1)
        #expect(Self.counts(Self.run(&scheduler)) == [[2, 1], [3, 1]])
    }

    @Test("prompts to be scored have a budget of their own, and leave the rest to others")
    func scored() {
        var scheduler = Self.scheduler()
        scheduler.add(Self.request(1, tokens: 10, isScored: true))
        scheduler.add(Self.request(2, tokens: 10, isScored: true))
        scheduler.add(Self.request(3, tokens: 30))
        let step = Self.run(&scheduler)
        #expect(Self.counts(step) == [[1, 4], [3, 12]] && step.work.map(\.isScored) == [true, false])
        #expect(Self.counts(Self.run(&scheduler)).contains([1, 4]))
    }

    @Test("a request that does not fit beside the others waits, and nobody passes it")
    func memory() {
        var scheduler = Self.scheduler(pages: 40)
        scheduler.add(Self.request(1, tokens: 60))
        scheduler.add(Self.request(2, tokens: 100))
        scheduler.add(Self.request(3, tokens: 1))
        for _ in 0..<8 { #expect(Self.run(&scheduler).work.map(\.id) == [1]) }
        scheduler.remove(1)
        #expect(Self.run(&scheduler).work.map(\.id).contains(2))
    }

    @Test("when pages run out the newest gives its own up, is computed again, and goes on where it was")
    func preemption() throws {
        var scheduler = Self.scheduler(pages: 20, window: nil)
        for id in 1...3 { scheduler.add(Self.request(RequestID(id), tokens: 8)) }
        var steps: [Scheduler.Step] = []
        while scheduler.statistics.preemptions == 0 && steps.count < 100 { steps.append(Self.run(&scheduler)) }
        #expect(steps.last?.preempted == [3] && scheduler.preemptedCount == 1)
        let length = scheduler.tokenCount(of: 3)
        for _ in 0..<5 { #expect(Self.run(&scheduler).work.map(\.id) == [1, 2]) }
        scheduler.remove(1)
        let resumed = try #require(Self.run(&scheduler).work.last)
        #expect(resumed.id == 3 && resumed.range.upperBound == min(length, resumed.range.lowerBound + 15))
        #expect(scheduler.preemptedCount == 0)
    }

    @Test("places that are free at once are shared between tenants")
    func tenants() {
        var scheduler = Self.scheduler(sequences: 4)
        for id in 1...6 {
            var request = Self.request(RequestID(id), tokens: 4)
            request.tenant = id < 5 ? "greedy" : "modest"
            scheduler.add(request)
        }
        #expect(Set(Self.run(&scheduler).work.map(\.id)) == [1, 2, 5, 6])
    }

    @Test("behind the window pages of sliding layers are free again")
    func window() {
        var scheduler = Self.scheduler(window: 6)
        scheduler.add(Self.request(1, tokens: 400))
        for _ in 0..<25 { Self.run(&scheduler) }
        // 100 full pages, and those of positions 395 to 400.
        #expect(1000 - scheduler.pool.freeCount == 100 + 2)
        #expect(scheduler.pool.findableCount == 200)
    }

    @Test("what an earlier request computed is not computed again, but for the last token", arguments: [4, 6, 9, nil])
    func prefixCache(window: Int?) {
        var scheduler = Self.scheduler(window: window)
        let prompt = Self.request(1, tokens: 64)
        scheduler.add(prompt)
        for _ in 0..<4 { Self.run(&scheduler) }
        scheduler.remove(1)

        func begin(_ id: RequestID, _ tokens: [Int32], salt: String = "") -> Range<Int>? {
            var request = Scheduler.Request(id: id, tokens: tokens)
            request.cacheSalt = salt
            scheduler.add(request)
            defer { scheduler.remove(id) }
            return Self.run(&scheduler).work.first?.range
        }
        #expect(begin(2, prompt.tokens) == 60..<64)
        #expect(begin(3, prompt.tokens + [1, 2]) == 64..<66)
        #expect(begin(4, Array(prompt.tokens.prefix(30)) + [1, 2, 3]) == 28..<33)
        #expect(begin(5, [1] + prompt.tokens.dropFirst()) == 0..<16)
        #expect(begin(6, prompt.tokens, salt: "other") == 0..<16)
        #expect(begin(7, prompt.tokens, salt: "other") == 16..<32)
        #expect(scheduler.statistics.cacheHits == 60 + 64 + 28 + 16)
        #expect(scheduler.statistics.cacheQueries == 64 + 64 + 66 + 33 + 64 + 64 + 64)
    }

    @Test("requests that come together compute what they share once")
    func sharedBurst() {
        var scheduler = Self.scheduler(batch: 16)
        let prefix = Self.request(0, tokens: 160).tokens
        for id in 1...4 { scheduler.add(.init(id: RequestID(id), tokens: prefix + [Int32(id)])) }
        var computed = 0
        while scheduler.statistics.promptTokens < 164 && computed < 1000 {
            let step = scheduler.next()
            scheduler.complete(step)
            computed += step.work.reduce(0) { $0 + $1.range.count }
            if step.work.isEmpty { break }
        }
        #expect(computed < 200, "apart they would compute 644")
    }
}
