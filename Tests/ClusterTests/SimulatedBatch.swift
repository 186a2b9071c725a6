import Cluster
import TestSupport
import Transformer

/// A batch whose rows are numbers, and what has been put into its slots, by whom and how often.
final class SimulatedBatch {
    private static let mostRows = 4
    private static let topK = 2
    /// What a worker sends in place of a result when it sends NaN.
    static let notFinite = UInt64.max

    private(set) var rows: [Int] = []
    private var layer = 0
    private var values: [UInt64?] = []
    private var sources: [WorkerID?] = []
    private var isTakenTwice = false
    private let assignments = UnsafeMutableBufferPointer<ExpertAssignment>.allocate(capacity: mostRows * topK)
    private let memory = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)

    deinit {
        assignments.deallocate()
        memory.deallocate()
    }

    func begin(layer: Int, firstRow: Int, _ random: inout SeededGenerator) {
        self.layer = layer
        rows = (0..<Int.random(in: 1...Self.mostRows, using: &random)).map { firstRow + $0 }
        for slot in 0..<rows.count * Self.topK {
            let expert = (Int32(slot % Self.topK) * 2 + .random(in: 0...1, using: &random))
            assignments.initializeElement(
                at: slot, to: ExpertAssignment(row: Int32(slot / Self.topK), expert: expert, slot: Int32(slot)))
        }
        values = Array(repeating: nil, count: rows.count * Self.topK)
        sources = Array(repeating: nil, count: rows.count * Self.topK)
        isTakenTwice = false
    }

    var batch: ExpertBatch {
        ExpertBatch(
            layer: layer, rowCount: rows.count, values: memory, scales: memory,
            assignments: UnsafeBufferPointer(rebasing: assignments.prefix(values.count)), outputs: memory)
    }

    func `is`(_ batch: ExpertBatch) -> Bool { batch.outputs == memory }

    static func value(layer: Int, expert: Int, row: Int) -> UInt64 {
        UInt64(row * 100 + layer * 10 + expert) &* 0x9E37_79B9_7F4A_7C15 >> 1
    }

    func expected(_ assignment: ExpertAssignment) -> UInt64 {
        Self.value(layer: layer, expert: Int(assignment.expert), row: rows[Int(assignment.row)])
    }

    /// - Parameter source: nil for the coordinator.
    func take(_ value: UInt64, _ assignment: ExpertAssignment, from source: WorkerID?) {
        let slot = Int(assignment.slot)
        if values[slot] != nil { isTakenTwice = true }
        values[slot] = value
        sources[slot] = source
    }

    func takeBack(from worker: WorkerID) {
        for slot in values.indices where sources[slot] == worker { values[slot] = nil }
    }

    /// Every slot has its row's output, from one source.
    var isRight: Bool {
        !isTakenTwice && assignments.prefix(values.count).allSatisfy { values[Int($0.slot)] == expected($0) }
    }
}
