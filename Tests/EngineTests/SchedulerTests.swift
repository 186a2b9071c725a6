import Engine
import TestSupport
import Testing

/// What each step computes.
@Suite struct SchedulerTests {
    private static func scheduler(sequences: Int = 8, prefill: Int = 16, scored: Int = 4) -> Scheduler {
        Scheduler(limits: .init(sequences: sequences, prefillTokens: prefill, scoredTokens: scored))
    }

    @Test("without requests a step is empty")
    func empty() {
        var scheduler = Self.scheduler()
        #expect(scheduler.next() == Scheduler.Step())
    }

    @Test("a prompt is computed in chunks, then its sequence decodes in every step")
    func lifeOfARequest() {
        var scheduler = Self.scheduler()
        scheduler.add(.init(id: 1, tokens: 40))
        #expect((0..<3).map { _ in scheduler.next().chunks.map(\.tokens) } == [[16], [16], [8]])
        for _ in 0..<3 {
            let step = scheduler.next()
            #expect(step.decoding == [1] && step.chunks.isEmpty)
        }
        scheduler.remove(1)
        #expect(scheduler.next() == Scheduler.Step())
    }

    @Test("several short prompts share a step's budget")
    func sharing() {
        var scheduler = Self.scheduler()
        for id in 1...3 { scheduler.add(.init(id: RequestID(id), tokens: 7)) }
        #expect(scheduler.next().chunks == [.init(id: 1, tokens: 7), .init(id: 2, tokens: 7), .init(id: 3, tokens: 2)])
        #expect(scheduler.next().chunks == [.init(id: 3, tokens: 5)])
    }

    @Test("a long prompt delays a short one by one chunk, and running sequences not at all")
    func fairness() {
        var scheduler = Self.scheduler()
        scheduler.add(.init(id: 1, tokens: 1))
        scheduler.add(.init(id: 2, tokens: 1000))
        _ = scheduler.next()
        scheduler.add(.init(id: 3, tokens: 5))
        #expect(scheduler.next().chunks.first?.id == 2)
        let third = scheduler.next()
        #expect(third.decoding == [1])
        #expect(third.chunks == [.init(id: 3, tokens: 5), .init(id: 2, tokens: 11)])
    }

    @Test("requests beyond the limit wait, and are admitted first come, first served")
    func admission() {
        var scheduler = Self.scheduler(sequences: 2)
        for id in 1...4 { scheduler.add(.init(id: RequestID(id), tokens: 1)) }
        #expect(scheduler.next().chunks.map(\.id) == [1, 2])
        #expect(scheduler.next().chunks.isEmpty)
        scheduler.remove(4)
        scheduler.remove(1)
        let step = scheduler.next()
        #expect(step.decoding == [2] && step.chunks.map(\.id) == [3])
    }

    @Test("prompts to be scored have a budget of their own, and leave the rest to others")
    func scored() {
        var scheduler = Self.scheduler()
        scheduler.add(.init(id: 1, tokens: 10, isScored: true))
        scheduler.add(.init(id: 2, tokens: 10, isScored: true))
        scheduler.add(.init(id: 3, tokens: 30))
        #expect(
            scheduler.next().chunks == [.init(id: 1, tokens: 4, isScored: true), .init(id: 3, tokens: 12)])
        #expect(scheduler.next().chunks.first == .init(id: 2, tokens: 4, isScored: true))
    }

    @Test("in random workloads every prompt is computed whole, budgets are kept, and no one starves")
    func randomWorkloads() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<40 {
            let sequences = Int.random(in: 1...6, using: &generator)
            let prefill = Int.random(in: 1...20, using: &generator)
            let scored = Int.random(in: 1...8, using: &generator)
            var scheduler = Self.scheduler(sequences: sequences, prefill: prefill, scored: scored)
            var workload = Workload()
            for _ in 0..<1000 {
                if workload.left.count < 20 && Bool.random(using: &generator) {
                    scheduler.add(workload.arrival(tokens: .random(in: 1...60, using: &generator), &generator))
                }
                if let victim = workload.left.keys.sorted().randomElement(using: &generator),
                    Int.random(in: 0..<10, using: &generator) == 0
                {
                    scheduler.remove(victim)
                    workload.remove(victim)
                }
                workload.apply(scheduler.next())
                #expect(workload.begun.count <= sequences && scheduler.runningCount <= sequences)
                #expect(workload.lastPrefill <= prefill && workload.lastScored <= scored)
                #expect(workload.longestPause <= sequences)
            }
        }
    }
}

/// Keeps account of what a scheduler was given and has done.
private struct Workload {
    /// Prompt tokens not yet computed, of every request that has not ended.
    var left: [RequestID: Int] = [:]
    /// Requests that have had a chunk.
    var begun: Set<RequestID> = []
    var lastPrefill = 0
    var lastScored = 0
    /// Steps that a begun prompt went without a chunk.
    var longestPause = 0
    private var pauses: [RequestID: Int] = [:]
    private var lastID: RequestID = 0

    mutating func arrival(tokens: Int, _ generator: inout SeededGenerator) -> Scheduler.Prompt {
        lastID += 1
        left[lastID] = tokens
        return .init(id: lastID, tokens: tokens, isScored: Int.random(in: 0..<4, using: &generator) == 0)
    }

    mutating func remove(_ id: RequestID) {
        left[id] = nil
        begun.remove(id)
        pauses[id] = nil
    }

    mutating func apply(_ step: Scheduler.Step) {
        #expect(Set(step.decoding) == begun.filter { left[$0] == 0 }, "every sequence decodes in every step")
        let order = left.keys.sorted()
        let newcomers = step.chunks.map(\.id).filter { !begun.contains($0) && pauses[$0] == nil }
        #expect(newcomers == newcomers.sorted() && newcomers.allSatisfy(order.contains))
        lastPrefill = step.chunks.reduce(0) { $0 + $1.tokens }
        lastScored = step.chunks.reduce(0) { $0 + ($1.isScored ? $1.tokens : 0) }
        for chunk in step.chunks {
            #expect(chunk.tokens > 0 && chunk.tokens <= left[chunk.id] ?? 0)
            left[chunk.id, default: 0] -= chunk.tokens
            begun.insert(chunk.id)
        }
        let served = Set(step.chunks.map(\.id))
        for id in begun { pauses[id] = served.contains(id) || left[id] == 0 ? 0 : pauses[id, default: 0] + 1 }
        longestPause = pauses.values.max() ?? 0
    }
}
