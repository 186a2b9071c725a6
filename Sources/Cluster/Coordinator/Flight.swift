import Transformer

/// A batch under way, and which of its rows have come back. A batch larger than a message goes in parts, one after
/// another. Its arrays keep their memory from batch to batch.
struct Flight {
    /// The part under way.
    private(set) var part: ExpertBatch
    /// Of that part; grows with every part of every batch.
    private(set) var number: UInt64 = 0
    /// By assignment of the part: whose output is in its slot, nobody's or the coordinator's among them.
    private var sources: [Int] = []
    private static let nobody = -1, coordinator = -2
    /// By assignment: how many have been asked for it and may still answer, the coordinator included.
    private var asked: [UInt8] = []
    /// Assignments that are not done.
    private(set) var missing = 0
    /// Assignments that nobody has been asked for yet.
    private(set) var undecided: [Int32] = []
    /// What the coordinator is to compute itself, and where in the part that is.
    private(set) var here: [ExpertAssignment] = []
    private var indexesHere: [Int32] = []
    /// What somebody is late with: the coordinator computes it too, expert by expert, unless it comes before.
    private var spare: [Int32] = []
    /// Of the part, for its ``OwnShare``.
    private(set) var kind = OwnShare.Kind(assignments: 0, isBesideAnother: false)
    private var begunAt = ContinuousClock.now
    /// Others were not done when everything that was to be computed here was.
    var hasWaited = false
    /// By worker: not to be asked again for this part.
    var isExcluded: [Bool] = []
    /// The last reason for which a worker did not compute what it was to.
    var misfortune: String?
    private var rest: Slice<UnsafeBufferPointer<ExpertAssignment>>

    init(_ batch: ExpertBatch) {
        part = batch
        rest = batch.assignments[...]
    }

    mutating func begin(_ batch: ExpertBatch) {
        part = batch
        rest = batch.assignments[...]
        misfortune = nil
    }

    /// Goes on to the next part, of which everything is undecided; false after the last.
    mutating func nextPart(_ number: UInt64, workers: Int, isBesideAnother: Bool, at now: ContinuousClock.Instant)
        -> Bool
    {
        guard !rest.isEmpty else { return false }
        let next = rest.prefix(DataMessage.maximumAssignments)
        rest = rest.dropFirst(next.count)
        part.assignments = UnsafeBufferPointer(rebasing: next)
        self.number = number
        missing = next.count
        kind = OwnShare.Kind(assignments: next.count, isBesideAnother: isBesideAnother)
        (begunAt, hasWaited) = (now, false)
        sources.reset(to: Self.nobody, count: next.count)
        asked.reset(to: 0, count: next.count)
        isExcluded.reset(to: false, count: workers)
        clearHere()
        spare.removeAll(keepingCapacity: true)
        undecided.removeAll(keepingCapacity: true)
        for index in 0..<Int32(next.count) { undecided.append(index) }
        return true
    }

    func assignment(_ index: Int32) -> ExpertAssignment { part.assignments[Int(index)] }

    func isMissing(_ index: Int32) -> Bool { sources[Int(index)] == Self.nobody }

    /// Everything has been decided.
    mutating func decided() { undecided.removeAll(keepingCapacity: true) }

    mutating func ask(_ index: Int32) { asked[Int(index)] += 1 }

    /// Of a part that is done: what it took for each assignment.
    func seconds(at now: ContinuousClock.Instant) -> Double {
        begunAt.duration(to: now).seconds / Double(max(1, part.assignments.count))
    }

    /// One of those who were asked will not answer.
    mutating func unask(_ index: Int32) {
        asked[Int(index)] -= 1
        if asked[Int(index)] == 0, isMissing(index) { undecided.append(index) }
    }

    /// Somebody else is to be asked as well.
    mutating func askAnother(_ index: Int32) { undecided.append(index) }

    mutating func computeHere(_ index: Int32) {
        ask(index)
        here.append(assignment(index))
        indexesHere.append(index)
    }

    mutating func computeHereIfLate(_ index: Int32) {
        ask(index)
        spare.append(index)
    }

    /// Goes on to another expert of what is late; false when there is none.
    mutating func takeSpare() -> Bool {
        guard let first = spare.first(where: isMissing) else { return false }
        let expert = assignment(first).expert
        for index in spare where assignment(index).expert == expert && isMissing(index) {
            here.append(assignment(index))
            indexesHere.append(index)
        }
        return true
    }

    mutating func computedHere() {
        for index in indexesHere { done(index, by: Self.coordinator) }
        clearHere()
    }

    private mutating func clearHere() {
        here.removeAll(keepingCapacity: true)
        indexesHere.removeAll(keepingCapacity: true)
    }

    /// One of those who were asked has computed it.
    mutating func done(_ index: Int32, by source: Int) {
        if isMissing(index) {
            sources[Int(index)] = source
            missing -= 1
        }
        unask(index)
    }

    /// What a worker computed is not to be relied upon.
    mutating func takeBack(from worker: Int) {
        for index in sources.indices where sources[index] == worker {
            sources[index] = Self.nobody
            missing += 1
            if asked[index] == 0 { undecided.append(Int32(index)) }
        }
    }
}
