/// Rows of a batch that one worker is asked for: a request, from when it is decided upon until it is answered or given up.
/// Its arrays keep their memory from request to request.
package struct WorkerShare {
    /// One assignment of the part, and where in `rows` its row is.
    package struct Item {
        package let assignment: Int32
        package let position: Int32
    }

    /// What an answer says that it answers.
    package private(set) var sequence: UInt64 = 0
    /// The part of a batch that it belongs to.
    package private(set) var part: UInt64 = 0
    /// An index into the placement's workers.
    package internal(set) var worker = 0
    package private(set) var items: [Item] = []
    /// The part's rows that the worker needs, each once.
    package private(set) var rows: [Int32] = []
    /// By row of the part: where in `rows` it is, or -1.
    private var positions: [Int32] = []

    /// Whether it is under way; otherwise free to be used again.
    private(set) var isActive = false
    private(set) var isSent = false
    /// Since when it is waited for, and until when.
    private(set) var begunAt = ContinuousClock.now
    private(set) var deadline = ContinuousClock.now
    private(set) var bytesSent = 0
    private(set) var bytesReceived = 0
    /// How many of the items have been answered, in their order.
    private var answeredCount = 0
    /// When others are asked for its rows as well.
    private(set) var hedgeAt: ContinuousClock.Instant?
    /// Of rows that another worker is late with.
    private(set) var isHedge = false
    /// What its answer must say.
    package private(set) var epoch: UInt64 = 0
    /// Not connected when tried last.
    var retryAt: ContinuousClock.Instant?

    /// How long the answer is waited for.
    var patience: Duration { begunAt.duration(to: deadline) }

    mutating func begin(
        _ sequence: UInt64, epoch: UInt64, part: UInt64, rowCount: Int, worker: Int, isHedge: Bool,
        at now: ContinuousClock.Instant, patience: Duration
    ) {
        for row in rows { positions[Int(row)] = -1 }
        rows.removeAll(keepingCapacity: true)
        items.removeAll(keepingCapacity: true)
        while positions.count < rowCount { positions.append(-1) }
        self.sequence = sequence
        self.epoch = epoch
        self.isHedge = isHedge
        self.part = part
        self.worker = worker
        (isActive, isSent, retryAt, hedgeAt) = (true, false, nil, nil)
        (bytesSent, bytesReceived, answeredCount) = (0, 0, 0)
        (begunAt, deadline) = (now, now + patience)
    }

    mutating func add(_ assignment: Int32, row: Int32) {
        if positions[Int(row)] < 0 {
            positions[Int(row)] = Int32(rows.count)
            rows.append(row)
        }
        items.append(Item(assignment: assignment, position: positions[Int(row)]))
    }

    mutating func sent(bytes: Int, at now: ContinuousClock.Instant, patience: Duration, hedgingAfter delay: Duration?) {
        isSent = true
        bytesSent = bytes
        (begunAt, deadline) = (now, now + patience)
        hedgeAt = isHedge ? nil : delay.map { now + $0 }
    }

    /// The items that an answer to `count` of them from `first` on is for; nil where another comes next.
    package func part(first: Int, count: Int) -> Range<Int>? {
        guard first == answeredCount, (1...items.count).contains(count), count <= items.count - first else {
            return nil
        }
        return first..<first + count
    }

    mutating func answered(_ part: Range<Int>, bytes: Int) {
        answeredCount = part.upperBound
        bytesReceived += bytes
    }

    var isAnswered: Bool { answeredCount == items.count }

    /// What is still to be answered.
    var awaited: ArraySlice<Item> { items[answeredCount...] }

    mutating func hedged() { hedgeAt = nil }

    mutating func end() { isActive = false }
}
