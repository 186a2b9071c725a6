import Transformer

extension Scheduler {
    /// The next step.
    package mutating func next() -> Step {
        steps += 1
        var step = Step()
        planDecoding(&step)
        admit()
        planPrompts(&step)
        return step
    }

    /// One token for every sequence that decodes, the oldest first.
    private mutating func planDecoding(_ step: inout Step) {
        var index = 0
        while index < running.count {
            let id = running[index]
            if entries[id]?.isDecoding == true, !plan(id, tokens: 1, &step), let newest = running.last {
                // Perhaps this sequence itself; then it is the last one.
                preempt(newest, &step)
            } else {
                index += 1
            }
        }
    }

    /// Admits as many as there are places and pages for: first those that were preempted, then the queue.
    private mutating func admit() {
        while running.count < limits.sequences, let id = preempted.first ?? queue.first, admit(id) {}
    }

    /// Admits one request if there are pages for all of its tokens, beside what was promised to others.
    private mutating func admit(_ id: RequestID) -> Bool {
        if let refused, refused.id == id, tables.pool.freeCount <= refused.freePages, !running.isEmpty { return false }
        guard var entry = entries.removeValue(forKey: id) else { return false }
        defer { entries[id] = entry }
        let free = tables.pool.freeCount
        let found = adopt(&entry)
        let reserve = running.count * tables.geometry.kinds
        let promised = running.reduce(0) { $0 + (entries[$1].map(missingPages) ?? 0) }
        guard running.isEmpty || missingPages(entry) + promised + reserve <= tables.pool.freeCount else {
            tables.release(&entry.pages)
            entry.computed = 0
            refused = (id, free)
            return false
        }
        if let order = entry.order {
            preempted.removeFirst()
            running.insert(id, at: running.firstIndex { order < entries[$0]?.order ?? 0 } ?? running.count)
        } else {
            queue.remove(id, tenant: entry.request.tenant)
            admissions += 1
            entry.order = admissions
            queue.charge(entry.request.tenant, Double(entry.tokens.count - found.count))
            if !entry.request.isScored { statistics.cacheQueries += entry.tokens.count }
            running.append(id)
        }
        entry.isRunning = true
        count(found, &entry)
        entry.turn = steps - 1
        return true
    }

    /// Pages that a sequence may still need for the tokens that it has.
    private func missingPages(_ entry: Entry) -> Int {
        let behind = tables.geometry.firstBlock(at: entry.computed)
        let held = entry.pages.full.count + max(0, entry.pages.sliding.count - behind)
        return max(0, tables.geometry.pages(forTokens: entry.tokens.count, from: entry.computed) - held)
    }

    /// Chunks of prompts, and of sequences that are computed again, within what is left of the budget.
    ///
    /// The prompt with the fewest tokens left goes first: a short one never waits for a long one, and the mean time to a
    /// first token is the shortest there can be. So that no long one waits for ever, half of every fourth step is kept
    /// for the one whose last chunk was longest ago.
    private mutating func planPrompts(_ step: inout Step) {
        // Sorting is stable: of equals the one admitted first goes first.
        let prompts = running.filter { entries[$0]?.turn != steps }
            .sorted { entries[$0]?.left ?? 0 < entries[$1]?.left ?? 0 }
        let most = step.work.isEmpty ? limits.promptTokens : limits.batchTokens - step.work.count
        var budget = (all: most, scored: limits.scoredTokens)
        if steps % 4 == 0, let waited = prompts.min(by: { entries[$0]?.turn ?? 0 < entries[$1]?.turn ?? 0 }) {
            let kept = (budget.all + 1) / 2
            budget.all -= kept
            for id in prompts where id != waited { planPrompt(id, &budget, &step) }
            budget.all += kept
            planPrompt(waited, &budget, &step)
        }
        for id in prompts where entries[id]?.turn != steps { planPrompt(id, &budget, &step) }
    }

    /// The next chunk of one prompt.
    private mutating func planPrompt(_ id: RequestID, _ budget: inout (all: Int, scored: Int), _ step: inout Step) {
        // One that was preempted a moment ago may still be on the list.
        guard budget.all > 0, var entry = entries[id], entry.isRunning else { return }
        let found = adopt(&entry)
        count(found, &entry)
        entries[id] = entry
        let wanted = min(entry.left, budget.all, entry.isScoring ? budget.scored : budget.all)
        while wanted > 0, !planChunk(id, tokens: wanted, &step) {
            // Only one that is newer, and not in this step, stands back.
            guard let newest = running.last, newest != id, !step.work.contains(where: { $0.id == newest }) else {
                return
            }
            preempt(newest, &step)
        }
        guard let work = step.work.last, work.id == id else { return }
        budget.all -= work.range.count
        if work.isScored { budget.scored -= work.range.count }
    }

    /// Plans as many of `tokens` tokens as there are pages for; false where there are none.
    private mutating func planChunk(_ id: RequestID, tokens: Int, _ step: inout Step) -> Bool {
        guard let entry = entries[id] else { return false }
        let reach = tables.reach(entry.pages, tokens: entry.computed + tokens) - entry.computed
        return reach > 0 && plan(id, tokens: reach, &step)
    }

    private mutating func plan(_ id: RequestID, tokens: Int, _ step: inout Step) -> Bool {
        guard var entry = entries.removeValue(forKey: id) else { return false }
        defer { entries[id] = entry }
        let range = entry.computed..<entry.computed + tokens
        guard tables.extend(&entry.pages, to: range.upperBound) else { return false }
        entry.turn = steps
        step.work.append(Work(id: id, range: range, pages: entry.pages, isScored: entry.isScoring))
        return true
    }

    /// Skips what is in the cache, but for the last token: its logits are wanted.
    /// - Returns: The positions that were skipped.
    private mutating func adopt(_ entry: inout Entry) -> Range<Int> {
        let none = entry.computed..<entry.computed
        let geometry = tables.geometry
        guard !entry.isScoring, entry.computed % geometry.pageTokens == 0 else { return none }
        let start = entry.computed / geometry.pageTokens
        guard max(entry.pages.full.count, entry.pages.sliding.count) == start else { return none }
        let most = (entry.tokens.count - 1) / geometry.pageTokens
        entry.extendDigests(blocks: most, pageTokens: geometry.pageTokens)
        let end = tables.adopt(&entry.pages, from: start, digests: entry.digests.prefix(most))
        entry.computed = end * geometry.pageTokens
        return none.lowerBound..<entry.computed
    }

    /// Counts what was found in the cache, unless this sequence itself had left it there.
    private mutating func count(_ found: Range<Int>, _ entry: inout Entry) {
        let tokens = max(0, min(found.upperBound, entry.request.tokens.count) - max(found.lowerBound, entry.furthest))
        entry.cached += tokens
        entry.furthest = max(entry.furthest, found.upperBound)
        statistics.cacheHits += tokens
    }

    private mutating func preempt(_ id: RequestID, _ step: inout Step) {
        guard var entry = entries.removeValue(forKey: id) else { return }
        tables.release(&entry.pages)
        entry.computed = 0
        entry.isRunning = false
        running.removeAll { $0 == id }
        preempted.insert(id, at: preempted.firstIndex { entry.order ?? 0 < entries[$0]?.order ?? 0 } ?? preempted.count)
        entries[id] = entry
        statistics.preemptions += 1
        step.preempted.append(id)
    }
}
