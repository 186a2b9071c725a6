import Synchronization

/// What the control thread and the engine's thread share about one worker.
package final class WorkerLink: Sendable {
    package enum Availability: Int, AtomicRepresentable, Sendable { case available, suspect, gone }

    /// What has passed between the engine and this worker.
    package struct Traffic: Sendable, Equatable {
        package var batches = 0
        package var rows = 0
        package var bytesSent = 0
        package var bytesReceived = 0
        /// Answers that did not come in time, or said that the worker could not.
        package var failures = 0
        /// Answers that were late, so that others were asked as well.
        package var hedges = 0
        /// Moving averages over the last dozen or so answers.
        package var secondsPerBatch = 0.0
        package var secondsPerAssignment = 0.0
    }

    package let id: WorkerID
    /// Whose identity it is; nil without keys.
    package let key: PublicKey?
    private let state = Atomic<Availability>(.available)
    private let counters = Mutex(Traffic())
    private let hasAccuser = Atomic(false)
    private let charge = Mutex<String?>(nil)

    package init(id: WorkerID, key: PublicKey? = nil) {
        self.id = id
        self.key = key
    }

    package var availability: Availability {
        get { state.load(ordering: .relaxed) }
        set { state.store(newValue, ordering: .relaxed) }
    }

    /// What it did, if it must not take part any more.
    package var accusation: String? { isAccused ? charge.withLock { $0 } : nil }

    var isAccused: Bool { hasAccuser.load(ordering: .acquiring) }

    /// The control thread sends it away; no rows are given to it from now on. The first accusation stays.
    func accuse(_ accusation: String) {
        charge.withLock { if $0 == nil { $0 = accusation } }
        hasAccuser.store(true, ordering: .releasing)
    }

    package var traffic: Traffic { counters.withLock { $0 } }

    func update(_ body: (inout Traffic) -> Void) { counters.withLock { body(&$0) } }
}
