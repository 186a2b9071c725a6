import Synchronization
import Transformer

/// What a worker has computed, for its coordinator to know how fast it is.
final class ComputeMeter: Sendable {
    private let state = Mutex(ComputeTotals())

    var totals: ComputeTotals { state.withLock { $0 } }

    func add(work: Int, in time: Duration) {
        state.withLock {
            $0.work += UInt64(work)
            $0.nanoseconds += UInt64(max(0, time / .nanoseconds(1)))
        }
    }
}

/// Experts whose computing is timed. Only computing: how long rows travel and wait says nothing of the worker.
final class MeasuredExperts: ExpertExecutor {
    private let experts: any ExpertExecutor
    private let meter: ComputeMeter
    /// By expert, the last batch that needed it.
    private var lastUse: [Int]
    private var batches = 0
    private var work = 0
    private var begin = ContinuousClock.now

    init(_ stock: ExpertStock, _ precision: Precision) throws {
        experts = try stock.makeExperts(precision)
        meter = stock.meter
        lastUse = [Int](repeating: 0, count: stock.model.shape.experts)
    }

    func beginStep() throws { try experts.beginStep() }

    func start(_ batch: ExpertBatch) throws {
        batches += 1
        work = batch.assignments.count
        for assignment in batch.assignments where lastUse[Int(assignment.expert)] != batches {
            lastUse[Int(assignment.expert)] = batches
            work += LoadBalancer.readingInRows
        }
        begin = .now
        try experts.start(batch)
    }

    func finish() throws {
        try experts.finish()
        meter.add(work: work, in: begin.duration(to: .now))
    }
}
