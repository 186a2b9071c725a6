/// In which arithmetic a model runs.
public enum Precision: String, Sendable, CaseIterable {
    /// Activations quantised to int8 in blocks of 32 for every large matrix; expert outputs rounded to bfloat16.
    case int8
    /// bfloat16 activations against the exact weights, for every large matrix; expert outputs rounded to bfloat16.
    case bf16
    /// float32 activations against the exact weights.
    case exact
}

/// What the activations and the outputs of the experts look like, in bytes.
public struct ExpertRowFormat: Sendable, Equatable {
    /// The arithmetic, which decides the element types.
    public let precision: Precision
    /// Columns of a row, before padding.
    public let hiddenSize: Int

    /// The format of a model's rows.
    public init(precision: Precision, hiddenSize: Int) {
        self.precision = precision
        self.hiddenSize = hiddenSize
    }

    /// Blocks of 32 columns in a row, the last one padded.
    public var blocks: Int { (hiddenSize + 31) / 32 }
    /// Bytes of one row's values: blocks of int8 or of bfloat16, or float32.
    public var valueBytes: Int {
        switch precision {
        case .int8: blocks * 32
        case .bf16: blocks * 32 * 2
        case .exact: hiddenSize * 4
        }
    }
    /// Bytes of one row's scales: a bfloat16 a block, or nothing.
    public var scaleBytes: Int { precision == .int8 ? blocks * 2 : 0 }
    /// Bytes of one expert's output for one row: bfloat16, or float32.
    public var outputBytes: Int { precision == .exact ? hiddenSize * 4 : hiddenSize * 2 }
}

/// One expert to be applied to one row.
public struct ExpertAssignment: Sendable, Equatable, BitwiseCopyable {
    /// Index into the batch's rows.
    public var row: Int32
    /// Which of the layer's experts.
    public var expert: Int32
    /// Index into the batch's outputs. Every assignment of a batch has its own.
    public var slot: Int32

    /// An assignment.
    public init(row: Int32, expert: Int32, slot: Int32) {
        self.row = row
        self.expert = expert
        self.slot = slot
    }
}

/// The rows of one layer on their way to the experts, and the place for what comes back. The memory is the caller's: it
/// is valid until the batch is finished, something throws, or a step begins. Row, expert and slot indices are within bounds: whoever builds a batch from a
/// message checks them first.
public struct ExpertBatch {
    /// The layer, from 0.
    public var layer: Int
    /// Rows in `values` and `scales`.
    public var rowCount: Int
    /// [rowCount][format.valueBytes], aligned for its elements.
    public var values: UnsafeRawPointer
    /// [rowCount][format.scaleBytes], aligned for its elements; any pointer where scaleBytes is 0.
    public var scales: UnsafeRawPointer
    /// What is to be computed, in any order.
    public var assignments: UnsafeBufferPointer<ExpertAssignment>
    /// [slots][format.outputBytes], aligned for its elements.
    public var outputs: UnsafeMutableRawPointer

    /// A batch over memory that outlives the call it is made for.
    public init(
        layer: Int, rowCount: Int, values: UnsafeRawPointer, scales: UnsafeRawPointer,
        assignments: UnsafeBufferPointer<ExpertAssignment>, outputs: UnsafeMutableRawPointer
    ) {
        self.layer = layer
        self.rowCount = rowCount
        self.values = values
        self.scales = scales
        self.assignments = assignments
        self.outputs = outputs
    }
}

/// The one seam to the experts. An expert is a pure function of (layer, expert, row): where it runs cannot be told
/// from what comes back.
///
/// A batch is started, and finished later, so that the caller can work while others compute. Batches are finished in the
/// order in which they were started; a forward pass has at most two under way. An executor touches a batch's memory only
/// within calls of these methods. When one of them throws, nothing is under way any more.
public protocol ExpertExecutor: AnyObject {
    /// Names the placement by which other processes compute experts, since the step began; nil while this process
    /// computes all of them itself, and so gains nothing from two batches under way.
    var remotePlacement: UInt64? { get }

    /// Called once before the layers of a forward pass: the moment at which a new placement may take effect. What a
    /// pass that failed left under way is forgotten.
    func beginStep() throws

    /// Begins to compute a batch.
    /// - Throws: when some expert cannot be computed anywhere.
    func start(_ batch: ExpertBatch) throws

    /// Returns when every assignment of the batch that was started longest ago has its output (down bias included,
    /// routing weight not) in its slot. Does nothing when none is under way.
    /// - Throws: when some expert cannot be computed anywhere; then no slot may be relied upon.
    func finish() throws
}

extension ExpertExecutor {
    /// Nothing is computed elsewhere.
    public var remotePlacement: UInt64? { nil }

    /// Starts a batch and finishes it, while no other is under way.
    /// - Throws: what either throws.
    public func run(_ batch: ExpertBatch) throws {
        try start(batch)
        try finish()
    }
}
