import Engine
import TestSupport
import Testing
import Transformer

/// Random workloads against a model of the memory: each step is "computed" by noting in every page which sequence of
/// tokens each position stands for, and by looking up every position that a query would read.
@Suite(.timeLimit(.minutes(10))) struct SchedulerSimulationTests {
    @Test("whatever comes, every query reads its own past, no page is written by two, none leaks, and nobody starves")
    func million() {
        var generator = SeededGenerator(seed: 2024)
        var steps = 0
        var preemptions = 0
        var hits = 0
        while steps < 1_000_000 {
            var simulation = Simulation(&generator)
            let problem = simulation.run(steps: 2000, &generator)
            #expect(problem == nil, "\(simulation.description)")
            if problem != nil { return }
            steps += simulation.steps
            preemptions += simulation.scheduler.statistics.preemptions
            hits += simulation.scheduler.statistics.cacheHits
        }
        // What is to be shown must have happened.
        #expect(preemptions > 5000 && hits > 100_000)
    }
}

private struct Simulation {
    /// A request as the simulation sees it. `tags[i]` stands for the tokens up to i, and the salt.
    private struct Client {
        var tags: [UInt64]
        var tokens: [Int32]
        let salt: UInt64
        let prompt: Int
        let target: Int
        let isScored: Bool
        /// Rows of logits that were asked for.
        var scores = 0

        func tag(after token: Int32) -> UInt64 { ((tags.last ?? salt) ^ UInt64(token) &+ 1) &* 0x9E37_79B9_7F4A_7C15 }
        mutating func append(_ token: Int32) {
            tags.append(tag(after: token))
            tokens.append(token)
        }
    }

    let description: String
    private(set) var scheduler: Scheduler
    private(set) var steps = 0
    private let limits: Scheduler.Limits
    private let geometry: PageGeometry
    private let pageCount: Int
    private let longest: Int
    /// [page * pageTokens + slot]: the tag of what is held there, made different for each kind.
    private var memory: [UInt64]
    private var clients: [RequestID: Client] = [:]
    /// Sequences that have drawn a token and computed all before it.
    private var decoding: Set<RequestID> = []
    private var lastID: RequestID = 0

    init(_ generator: inout SeededGenerator) {
        let sequences = Int.random(in: 1...8, using: &generator)
        var limits = Scheduler.Limits(
            sequences: sequences,
            batchTokens: sequences + .random(in: 0...(Bool.random(using: &generator) ? 2 : 24), using: &generator),
            scoredTokens: .random(in: 1...6, using: &generator))
        limits.promptTokens += .random(in: 0...limits.batchTokens, using: &generator)
        self.limits = limits
        let hasFull = Int.random(in: 0..<8, using: &generator) > 0
        geometry = PageGeometry(
            pageTokens: .random(in: 1...5, using: &generator), hasFullLayers: hasFull,
            window: hasFull && Bool.random(using: &generator) ? nil : .random(in: 1...9, using: &generator),
            chunkTokens: limits.promptTokens)
        longest = .random(in: 4...(Bool.random(using: &generator) ? 60 : 200), using: &generator)
        pageCount =
            geometry.pages(forTokens: longest)
            + .random(in: 0...(Bool.random(using: &generator) ? 5 : 40), using: &generator)
        scheduler = Scheduler(limits: limits, geometry: geometry, pageCount: pageCount)
        memory = Array(repeating: 0, count: pageCount * geometry.pageTokens)
        description = "\(limits) \(geometry) \(pageCount) pages, at most \(longest) tokens"
    }

    /// What went wrong, or nil. Ends with every request finished.
    mutating func run(steps count: Int, _ generator: inout SeededGenerator) -> String? {
        for _ in 0..<count {
            if clients.count < 20, Bool.random(using: &generator) { arrive(&generator) }
            if Int.random(in: 0..<25, using: &generator) == 0, let id = clients.keys.min() { leave(id) }
            if Int.random(in: 0..<25, using: &generator) == 0, let id = clients.keys.max() { leave(id) }
            if let problem = step(fails: Int.random(in: 0..<40, using: &generator) == 0, &generator) { return problem }
        }
        // Every step computes at least a token; what is computed again after a preemption may be most of it.
        for _ in 0..<20_000 where !clients.isEmpty {
            if let problem = step(fails: false, &generator) { return problem }
        }
        if !clients.isEmpty { return "\(clients.count) requests starve" }
        return scheduler.pool.freeCount == pageCount ? nil : "\(pageCount - scheduler.pool.freeCount) pages leaked"
    }

    private mutating func arrive(_ generator: inout SeededGenerator) {
        lastID += 1
        let prompt = Int.random(in: 1..<longest, using: &generator)
        let salt = UInt64.random(in: 0...1, using: &generator)
        // Few different tokens, so that prompts share beginnings.
        let kind = Int32.random(in: 0..<2, using: &generator)
        let diverges = Int.random(in: 0...longest, using: &generator)
        var client = Client(
            tags: [], tokens: [], salt: salt, prompt: prompt,
            target: .random(in: prompt + 1...longest, using: &generator),
            isScored: Int.random(in: 0..<6, using: &generator) == 0)
        for index in 0..<prompt { client.append(index < diverges ? kind : .random(in: 0...3, using: &generator)) }
        var request = Scheduler.Request(id: lastID, tokens: client.tokens)
        request.tenant = "\(Int.random(in: 0..<3, using: &generator))"
        request.priority = .random(in: 0..<3, using: &generator)
        request.cacheSalt = "\(salt)"
        request.isScored = client.isScored
        scheduler.add(request)
        clients[lastID] = client
    }

    private mutating func leave(_ id: RequestID) {
        scheduler.remove(id)
        clients[id] = nil
        decoding.remove(id)
    }

    private mutating func step(fails: Bool, _ generator: inout SeededGenerator) -> String? {
        steps += 1
        let step = scheduler.next()
        decoding.subtract(step.preempted)
        for id in step.preempted where clients[id]?.tokens.count == clients[id]?.prompt { clients[id]?.scores = 0 }
        if step.work.isEmpty != clients.isEmpty { return "a step is empty although \(clients.count) requests wait" }
        if let problem = checkBudget(step) ?? checkPages(step) ?? compute(step) { return problem }
        // A step that fails may have written anything where it was to write.
        if fails {
            if Bool.random(using: &generator) { for work in step.work { leave(work.id) } }
            return nil
        }
        scheduler.complete(step)
        for work in step.work {
            guard var client = clients[work.id] else { return "work for a request that has left" }
            if work.isScored { client.scores += work.range.count }
            if work.range.upperBound == client.tokens.count {
                if client.isScored, client.scores != client.prompt {
                    return "\(client.scores) scores of \(client.prompt)"
                }
                if scheduler.cachedTokens(of: work.id) >= client.prompt { return "more than the prompt is cached" }
                if client.tokens.count == client.target {
                    leave(work.id)
                    continue
                }
                let token = Int32.random(in: 0...3, using: &generator)
                client.append(token)
                scheduler.append(token, to: work.id)
                decoding.insert(work.id)
            }
            clients[work.id] = client
        }
        return nil
    }

    private func checkBudget(_ step: Scheduler.Step) -> String? {
        let tokens = step.work.reduce(0) { $0 + $1.range.count }
        let scored = step.work.reduce(0) { $0 + ($1.isScored ? $1.range.count : 0) }
        let most = step.work.contains { decoding.contains($0.id) } ? limits.batchTokens : limits.promptTokens
        if tokens > most || scored > limits.scoredTokens { return "a step of \(tokens) tokens" }
        if step.work.count > limits.sequences || scheduler.runningCount > limits.sequences {
            return "too many sequences"
        }
        if Set(step.work.map(\.id)).count != step.work.count { return "a request is in a step twice" }
        let advancing = Set(step.work.map(\.id) + step.preempted)
        if !decoding.isSubset(of: advancing) { return "a sequence that decodes was left out" }
        return nil
    }

    /// A sequence holds no more pages than it was said to need, and one that waits holds none.
    private func checkPages(_ step: Scheduler.Step) -> String? {
        var held = 0
        for (id, client) in clients {
            let pages = scheduler.pages(of: id)
            let count = pages.full.count + pages.sliding.count { $0 != KVPages.none }
            held += count
            if count > 0, !scheduler.isRunning(id) { return "a sequence that waits holds \(count) pages" }
            if count > geometry.pages(forTokens: client.tokens.count) { return "a sequence holds \(count) pages" }
        }
        // Pages that several sequences read are counted for each.
        return held >= pageCount - scheduler.pool.freeCount ? nil : "pages are used by nobody"
    }

    /// Writes every position of a step, and then looks at what every query would read.
    private mutating func compute(_ step: Scheduler.Step) -> String? {
        var writers: [Int: RequestID] = [:]
        for work in step.work {
            guard let client = clients[work.id] else { return "work for a request that has left" }
            if work.range.upperBound > client.tokens.count { return "\(work.range) is beyond the sequence" }
            for (kind, table) in [(UInt64(1), work.pages.full), (2, work.pages.sliding)] where !table.isEmpty {
                for position in work.range {
                    let page = Int(table[position / geometry.pageTokens])
                    guard page < pageCount else { return "nowhere to write position \(position)" }
                    if writers.updateValue(work.id, forKey: page).map({ $0 != work.id }) == true || users(page) != 1 {
                        return "page \(page) has two writers, or a reader"
                    }
                    memory[page * geometry.pageTokens + position % geometry.pageTokens] = client.tags[position] ^ kind
                }
            }
        }
        for work in step.work {
            guard let client = clients[work.id] else { continue }
            let first = work.range.lowerBound
            if geometry.hasFullLayers, let wrong = reads(client, work.pages.full, 0..<work.range.upperBound, kind: 1) {
                return wrong
            }
            if let window = geometry.window {
                let range = max(0, first - window + 1)..<work.range.upperBound
                if let wrong = reads(client, work.pages.sliding, range, kind: 2) { return wrong }
            }
        }
        return nil
    }

    private func users(_ page: Int) -> Int { scheduler.pool.users(of: UInt32(page)) }

    private func reads(_ client: Client, _ table: [UInt32], _ positions: Range<Int>, kind: UInt64) -> String? {
        for position in positions {
            let block = position / geometry.pageTokens
            guard block < table.count, table[block] != KVPages.none else { return "position \(position) is not held" }
            let held = memory[Int(table[block]) * geometry.pageTokens + position % geometry.pageTokens]
            if held != client.tags[position] ^ kind { return "position \(position) of kind \(kind) is another's" }
        }
        return nil
    }
}
