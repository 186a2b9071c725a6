import Transformer

/// Looks at rows that workers return before they are used.
final class RowVerifier {
    private let format: ExpertRowFormat
    private var sampled: [ExpertAssignment] = []
    /// Where in the answer each of them is.
    private var positions: [Int] = []
    private var expected = UnsafeMutableRawBufferPointer.allocate(byteCount: 0, alignment: 64)

    init(_ format: ExpertRowFormat) { self.format = format }

    deinit { expected.deallocate() }

    /// Whether no element is NaN or infinity. Unaligned bytes are fine.
    func isFinite(_ outputs: UnsafeRawBufferPointer) -> Bool {
        FiniteCheck(format.precision).passes(outputs)
    }

    func begin() {
        sampled.removeAll(keepingCapacity: true)
        positions.removeAll(keepingCapacity: true)
    }

    /// Notes a row that is to be computed here too.
    func add(_ assignment: ExpertAssignment, at position: Int) {
        var assignment = assignment
        assignment.slot = Int32(sampled.count)
        sampled.append(assignment)
        positions.append(position)
    }

    /// Computes what was noted. Returns where in the answer the first row is that differs in any bit; nil when none does.
    func firstWrong(in outputs: UnsafeRawPointer, of batch: ExpertBatch, _ experts: any ExpertExecutor) throws -> Int? {
        guard !sampled.isEmpty else { return nil }
        let width = format.outputBytes
        if expected.count < sampled.count * width {
            expected.deallocate()
            expected = .allocate(byteCount: sampled.count * width, alignment: 64)
        }
        guard let start = expected.baseAddress else { return nil }
        try sampled.withUnsafeBufferPointer {
            var batch = batch
            (batch.assignments, batch.outputs) = ($0, start)
            try experts.run(batch)
        }
        return positions.indices.first { index in
            !UnsafeRawBufferPointer(start: start + index * width, count: width)
                .elementsEqual(UnsafeRawBufferPointer(start: outputs + positions[index] * width, count: width))
        }.map { positions[$0] }
    }
}
