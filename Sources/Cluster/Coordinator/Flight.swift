import Transformer

/// A batch under way, and which of its rows have come back. A batch larger than a message goes in parts, one after
/// another. Its arrays keep their memory from batch to batch.
struct Flight {
    /// The part under way.
    private(set) var part: ExpertBatch
    /// Of that part; grows with every part of every batch.
    private(set) var number: UInt64 = 0
    /// By assignment of the part: whether its output is in its slot.
    private var isDone: [Bool] = []
    /// Assignments that are not done.
    private(set) var missing = 0
    /// Assignments that nobody has been asked for yet.
    var undecided: [Int32] = []
    /// What the coordinator is to compute itself, and where in the part that is.
    private(set) var here: [ExpertAssignment] = []
    private var indexesHere: [Int32] = []
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
    mutating func nextPart(_ number: UInt64, workers: Int) -> Bool {
        guard !rest.isEmpty else { return false }
        let next = rest.prefix(DataMessage.maximumAssignments)
        rest = rest.dropFirst(next.count)
        part.assignments = UnsafeBufferPointer(rebasing: next)
        self.number = number
        missing = next.count
        isDone.reset(to: false, count: next.count)
        isExcluded.reset(to: false, count: workers)
        clearHere()
        undecided.removeAll(keepingCapacity: true)
        for index in 0..<Int32(next.count) { undecided.append(index) }
        return true
    }

    func assignment(_ index: Int32) -> ExpertAssignment { part.assignments[Int(index)] }

    func isMissing(_ index: Int32) -> Bool { !isDone[Int(index)] }

    mutating func computeHere(_ index: Int32) {
        here.append(assignment(index))
        indexesHere.append(index)
    }

    mutating func computedHere() {
        for index in indexesHere { done(index) }
        clearHere()
    }

    private mutating func clearHere() {
        here.removeAll(keepingCapacity: true)
        indexesHere.removeAll(keepingCapacity: true)
    }

    mutating func done(_ index: Int32) {
        guard !isDone[Int(index)] else { return }
        isDone[Int(index)] = true
        missing -= 1
    }
}
