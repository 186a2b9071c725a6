public import Checkpoints
import Kernels

/// The experts computed in this process, straight from where their source has them: for a cluster of one, in a worker,
/// and for rows that no worker owns. Not Sendable: one thread at a time.
public final class LocalExperts: ExpertExecutor {
    /// What rows and outputs look like.
    public let format: ExpertRowFormat

    private var form: RowForm { format.precision.expertForm }
    private let config: ExpertConfig
    private let matrices: ExpertMatrices
    private let kernels: Kernels
    private let pool: ThreadPool

    // Scratch, by assignment in the order of `order`.
    private let inputs: Activations
    private let activated: Activations
    private let gateUp = Scratch<Float>()
    private let down = Scratch<Float>()
    private let order = Scratch<Int32>()
    private var groups: [Group] = []
    /// By expert: first how many assignments it has, then where its next one goes in `order`.
    private let places: Scratch<Int>

    /// The assignments of one expert: a range of `order`.
    private struct Group {
        let matrices: ExpertMatrices.Pair
        let range: Range<Int>
    }

    /// Sees what the gate and up rows gave, bias included, before the activation: (layer, slot, [2 * intermediate]).
    package var gateUpObserver: ((_ layer: Int, _ slot: Int, _ values: UnsafeBufferPointer<Float>) -> Void)?

    /// Computes experts of `source`, such as a checkpoint, with `threads` threads, the caller's included.
    /// - Throws: ``ModelError``.
    public convenience init(_ source: any ExpertSource, precision: Precision, threads: Int) throws {
        self.init(
            source, precision: precision, pool: try ThreadPool(threads: threads), kernels: try selectedKernels())
    }

    package init(_ source: any ExpertSource, precision: Precision, pool: ThreadPool, kernels: Kernels) {
        config = source.expertConfig
        format = ExpertRowFormat(precision: precision, hiddenSize: config.hiddenSize)
        matrices = ExpertMatrices(source: source, precision: precision, pool: pool)
        inputs = Activations(columns: config.hiddenSize)
        activated = Activations(columns: config.intermediateSize)
        places = Scratch(count: config.expertCount)
        self.kernels = kernels
        self.pool = pool
    }

    /// Nothing changes between steps.
    public func beginStep() {}

    /// Nothing is left to do: ``start(_:)`` computes.
    public func finish() {}

    /// Computes every assignment: rows grouped by expert, so that each weight is read once.
    /// - Throws: ``ModelError`` when the source does not have an expert.
    public func start(_ batch: ExpertBatch) throws {
        try group(batch)
        defer { groups.removeAll(keepingCapacity: true) }
        let count = batch.assignments.count
        let (hidden, intermediate) = (config.hiddenSize, config.intermediateSize)
        inputs.resize(rows: count)
        activated.resize(rows: count)
        gateUp.reserve(count * intermediate * 2)
        down.reserve(count * hidden)

        pool.run(count) { index in copyRow(of: assignment(index, batch), to: index, batch) }
        multiply(inputs, \.gateUp, rows: intermediate * 2, into: gateUp.base) { _, _ in }
        pool.run(count) { index in
            kernels.pointee.swiglu(
                gateUp.base + index * intermediate * 2, intermediate, config.swigluLimit, config.swigluAlpha,
                activated.row(index))
            activated.convert(row: index, to: form, kernels)
        }
        multiply(activated, \.down, rows: hidden, into: down.base) { index, band in
            write(index, band, slot: Int(assignment(index, batch).slot), batch)
        }

        if let gateUpObserver {
            for index in 0..<count {
                gateUpObserver(
                    batch.layer, Int(assignment(index, batch).slot),
                    UnsafeBufferPointer(start: gateUp.base + index * intermediate * 2, count: intermediate * 2))
            }
        }
    }

    private func assignment(_ index: Int, _ batch: ExpertBatch) -> ExpertAssignment {
        batch.assignments[Int(order.base[index])]
    }

    /// Fills `order` with the assignments sorted by expert, and `groups` with each expert's range (a counting sort).
    private func group(_ batch: ExpertBatch) throws {
        let places = places.base
        places.update(repeating: 0, count: config.expertCount)
        for assignment in batch.assignments { places[Int(assignment.expert)] += 1 }
        groups.removeAll(keepingCapacity: true)
        var start = 0
        for expert in 0..<config.expertCount where places[expert] > 0 {
            let range = start..<start + places[expert]
            guard let pair = matrices.pair(layer: batch.layer, expert: expert) else {
                throw ModelError("expert \(expert) of layer \(batch.layer) is not here")
            }
            groups.append(Group(matrices: pair, range: range))
            places[expert] = start
            start = range.upperBound
        }
        order.reserve(batch.assignments.count)
        for (index, assignment) in batch.assignments.enumerated() {
            order.base[places[Int(assignment.expert)]] = Int32(index)
            places[Int(assignment.expert)] += 1
        }
    }

    private func copyRow(of assignment: ExpertAssignment, to index: Int, _ batch: ExpertBatch) {
        let row = Int(assignment.row)
        inputs.expertRow(index, format.precision)
            .copyMemory(from: batch.values + row * format.valueBytes, byteCount: format.valueBytes)
        UnsafeMutableRawPointer(inputs.scalesRow(index))
            .copyMemory(from: batch.scales + row * format.scaleBytes, byteCount: format.scaleBytes)
    }

    /// Multiplies each group's rows with its expert's matrix and calls `finished` for each row and band of outputs.
    private func multiply(
        _ x: Activations, _ matrix: KeyPath<ExpertMatrices.Pair, Matrix>, rows: Int,
        into y: UnsafeMutablePointer<Float>,
        finished: (_ index: Int, _ band: Range<Int>) -> Void
    ) {
        // Each band prepares the activations anew, for the sake of threads that would otherwise wait for one another.
        let bands = RowBands(rows: rows, count: pool.threads == 1 ? 1 : pool.threads * 32 / groups.count)
        pool.run(groups.count * bands.count) { item in
            let group = groups[item / bands.count]
            let band = bands[item % bands.count]
            group.matrices[keyPath: matrix].multiply(
                x.input(group.range, form), band: band, into: y + group.range.lowerBound * rows, stride: rows, kernels)
            for index in group.range { finished(index, band) }
        }
    }

    /// Puts one band of one row's result where it belongs, rounded the way it would travel.
    private func write(_ index: Int, _ band: Range<Int>, slot: Int, _ batch: ExpertBatch) {
        let source = down.base + index * config.hiddenSize + band.lowerBound
        let target = batch.outputs + slot * format.outputBytes
        switch format.precision {
        case .int8, .bf16:
            kernels.pointee.f32_to_bf16(
                source, band.count, target.assumingMemoryBound(to: UInt16.self) + band.lowerBound)
        case .exact:
            (target.assumingMemoryBound(to: Float.self) + band.lowerBound).update(from: source, count: band.count)
        }
    }
}
