/// Where the tensors of one expert lie in memory. Each is as in ``ExpertTensors``, without the first dimension.
public struct ExpertParts: @unchecked Sendable {  // The memory is never written.
    /// One matrix.
    public struct Part {
        /// MXFP4 blocks [rows, columns/32, 16], or bfloat16 [columns, rows].
        public let weights: UnsafeRawPointer
        /// [rows, columns/32]; nil for bfloat16.
        public let scales: UnsafeRawPointer?
        /// bfloat16, [rows].
        public let bias: UnsafeRawPointer
    }

    /// [2 * intermediate, hidden].
    public let gateUp: Part
    /// [hidden, intermediate].
    public let down: Part
    /// Whatever keeps the memory.
    public let owner: AnyObject

    init(gateUp: Part, down: Part, owner: AnyObject) {
        self.gateUp = gateUp
        self.down = down
        self.owner = owner
    }

    /// An expert laid out at `start` as `layout` says; aligned to 2 bytes.
    public init(_ start: UnsafeRawPointer, _ layout: ExpertLayout, owner: AnyObject) {
        let tensors = layout.ranges.map { start + $0.lowerBound }
        let half = tensors.count / 2
        func part(_ first: Int) -> Part {
            Part(
                weights: tensors[first], scales: half == 3 ? tensors[first + 1] : nil, bias: tensors[first + half - 1])
        }
        self.init(gateUp: part(0), down: part(half), owner: owner)
    }
}

/// Experts by layer and number: those of a mapped checkpoint, or those that were brought here.
public protocol ExpertSource: AnyObject, Sendable {
    /// The dimensions of all of them.
    var expertConfig: ExpertConfig { get }

    /// Where an expert lies; nil while it is not here. Valid as long as the result's owner lives.
    func parts(layer: Int, expert: Int) -> ExpertParts?
}
