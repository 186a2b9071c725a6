package import Transformer

/// Decides what each step computes: iteration-level scheduling as in Orca (Yu et al., OSDI 2022) over paged keys and
/// values as in PagedAttention (Kwon et al., SOSP 2023). One token for every sequence that decodes, and beside them
/// chunks of prompts within a budget.
///
/// When pages run out the newest sequence gives its own up and is computed again later, so the oldest always advances.
/// A pure value: it neither knows a clock nor a model.
package struct Scheduler {
    /// The bounds of a step.
    package struct Limits: Sendable {
        /// Sequences that are admitted at a time.
        package var sequences: Int
        /// Tokens in a step, at least as many as sequences.
        package var batchTokens: Int
        /// Tokens in a step in which no sequence decodes: nobody's next token waits for it.
        package var promptTokens: Int
        /// Of these, tokens of prompts whose scores are asked for: each needs a row of logits.
        package var scoredTokens: Int

        package init(sequences: Int, batchTokens: Int, promptTokens: Int? = nil, scoredTokens: Int) {
            self.sequences = sequences
            self.batchTokens = batchTokens
            self.promptTokens = promptTokens ?? batchTokens
            self.scoredTokens = scoredTokens
        }
    }

    /// What the scheduler knows of a request.
    package struct Request: Sendable {
        package var id: RequestID
        package var tokens: [Int32]
        package var tenant = ""
        package var priority = 0
        package var cacheSalt = ""
        /// Whether every token of the prompt needs a row of logits, so that none can be taken from the cache.
        package var isScored = false

        package init(id: RequestID, tokens: [Int32]) {
            self.id = id
            self.tokens = tokens
        }
    }

    /// One sequence's part of a step.
    package struct Work: Equatable, Sendable {
        package var id: RequestID
        /// Positions of the tokens to be computed.
        package var range: Range<Int>
        package var pages: KVPages
        /// Whether the logits of all of them are wanted.
        package var isScored = false
    }

    /// The work of one step; no request is in it twice.
    package struct Step: Equatable, Sendable {
        package var work: [Work] = []
        /// Sequences that gave their pages up.
        package var preempted: [RequestID] = []
    }

    /// What has happened so far.
    package struct Statistics: Equatable, Sendable {
        package var preemptions = 0
        /// Prompt tokens of admitted requests that may take from the cache.
        package var cacheQueries = 0
        /// Of these, found in the cache.
        package var cacheHits = 0
        /// Prompt tokens computed, each counted once.
        package var promptTokens = 0
        /// Tokens computed again after a preemption.
        package var recomputed = 0
    }

    struct Entry {
        let request: Request
        /// The prompt, and what was generated.
        var tokens: [Int32]
        /// Tokens whose keys and values are held.
        var computed = 0
        /// The most that ever were.
        var furthest = 0
        var pages = KVPages(full: [], sliding: [])
        var digests: [BlockDigest] = []
        /// Whether it is admitted and has not given its pages up.
        var isRunning = false
        /// Tokens of the prompt that were taken from the cache.
        var cached = 0
        /// The order of admission, once admitted.
        var order: UInt64?
        /// The step that had its latest chunk, or in which it was admitted.
        var turn: UInt64 = 0

        var left: Int { tokens.count - computed }
        var isDecoding: Bool { left == 1 && tokens.count > request.tokens.count }
        var isScoring: Bool { request.isScored && furthest < request.tokens.count }
    }

    let limits: Limits
    var entries: [RequestID: Entry] = [:]
    var queue = AdmissionQueue()
    /// Admitted sequences and those that were preempted, each in the order of first admission.
    var running: [RequestID] = []
    var preempted: [RequestID] = []
    var tables: PageTables
    var steps: UInt64 = 0
    /// The request that did not fit, and the free pages that it found.
    var refused: (id: RequestID, freePages: Int)?
    var admissions: UInt64 = 0
    package internal(set) var statistics = Statistics()

    package init(limits: Limits, geometry: PageGeometry, pageCount: Int) {
        self.limits = limits
        tables = PageTables(geometry: geometry, pageCount: pageCount)
    }

    /// Admitted requests that have not been removed.
    package var runningCount: Int { running.count }
    /// Requests that wait to be computed again.
    package var preemptedCount: Int { preempted.count }
    /// The pages, to look at.
    package var pool: PagePool { tables.pool }

    /// Puts a request at the end of its tenant's queue. It has at least one token.
    package mutating func add(_ request: Request) {
        entries[request.id] = Entry(request: request, tokens: request.tokens)
        queue.add(request.id, tenant: request.tenant, priority: request.priority)
    }

    /// Forgets a request that has ended, in whatever state it is, and frees its pages.
    package mutating func remove(_ id: RequestID) {
        guard var entry = entries.removeValue(forKey: id) else { return }
        tables.release(&entry.pages)
        queue.remove(id, tenant: entry.request.tenant)
        running.removeAll { $0 == id }
        preempted.removeAll { $0 == id }
    }

    /// Whether a request is admitted and has not given its pages up.
    package func isRunning(_ id: RequestID) -> Bool { entries[id]?.isRunning == true }

    /// The pages that a sequence holds.
    package func pages(of id: RequestID) -> KVPages { entries[id]?.pages ?? KVPages() }

    /// The tokens at `range` of a sequence.
    package func tokens(of id: RequestID, _ range: Range<Int>) -> ArraySlice<Int32> { entries[id]?.tokens[range] ?? [] }

    /// Tokens of a sequence: the prompt, and what was generated.
    package func tokenCount(of id: RequestID) -> Int { entries[id]?.tokens.count ?? 0 }

    /// Prompt tokens of a request that were taken from the cache.
    package func cachedTokens(of id: RequestID) -> Int { entries[id]?.cached ?? 0 }

    /// Adds a generated token, whose turn is in the next step.
    package mutating func append(_ token: Int32, to id: RequestID) { entries[id]?.tokens.append(token) }

    /// Notes that a step has been computed. Until then nothing in it can be found by others; a step that has failed may
    /// be left out.
    package mutating func complete(_ step: Step) {
        let pageTokens = tables.geometry.pageTokens
        for work in step.work {
            guard var entry = entries.removeValue(forKey: work.id) else { continue }
            statistics.recomputed += max(0, min(entry.furthest, work.range.upperBound) - work.range.lowerBound)
            let isNew = max(0, work.range.upperBound - max(entry.furthest, work.range.lowerBound))
            // As in the paper, a token generated counts twice a token read, which was charged at admission.
            if work.range.lowerBound >= entry.request.tokens.count {
                queue.charge(entry.request.tenant, Double(2 * isNew))
            } else {
                statistics.promptTokens += isNew
            }

            let blocks = entry.computed / pageTokens..<work.range.upperBound / pageTokens
            entry.computed = work.range.upperBound
            entry.furthest = max(entry.furthest, entry.computed)
            entry.extendDigests(blocks: blocks.upperBound, pageTokens: pageTokens)
            tables.publish(entry.pages, blocks: blocks, digests: entry.digests)
            tables.releaseBehindWindow(&entry.pages, at: entry.computed)
            entries[work.id] = entry
        }
    }
}

extension Scheduler.Entry {
    /// Computes the digests of the first `blocks` blocks.
    mutating func extendDigests(blocks: Int, pageTokens: Int) {
        while digests.count < blocks {
            let start = digests.count * pageTokens
            digests.append(
                BlockDigest(
                    after: digests.last ?? BlockDigest(salt: request.cacheSalt),
                    tokens: tokens[start..<start + pageTokens]))
        }
    }
}
