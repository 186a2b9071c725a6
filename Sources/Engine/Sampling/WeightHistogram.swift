/// Mass and number of the tokens in 1024 equal ranges of logits, the largest logits first.
struct WeightHistogram {
    /// Tokens with neighbouring logits.
    struct Bucket {
        var logits: ClosedRange<Float>
        var count: Int
    }

    private static let buckets = 1024
    /// Consecutive tokens are counted apart: were they alike, each addition would wait for the one before.
    private static let lanes = 4

    private let logits: ClosedRange<Float>
    private let scale: Double
    /// [bucket][lane]: mass and number; behind the buckets, what lies beyond the range.
    private var sums = [SIMD2<Double>](repeating: SIMD2(), count: (buckets + 1) * lanes)

    /// Counts the tokens in a range of logits.
    init(_ row: WeightedRow, logits: ClosedRange<Float>) {
        self.logits = logits
        // In Double: no difference of Floats overflows there, and none of two that differ is 0.
        let width = Double(logits.upperBound) - Double(logits.lowerBound)
        scale = width > 0 ? Double(Self.buckets - 1) / width : 0
        let (values, weights) = (row.row.logits, row.weights)
        var sums = sums
        sums.withUnsafeMutableBufferPointer { sums in
            for id in values.indices {
                sums[bucket(of: values[id]) &* Self.lanes | id & (Self.lanes &- 1)] += SIMD2(Double(weights[id]), 1)
            }
        }
        self.sums = sums
    }

    /// Without the checks of a conversion: beside 2^52 the last bits of a Double count ones.
    @inline(__always) private func bucket(of logit: Float) -> Int {
        let place = (Double(logits.upperBound) - Double(logit)) * scale
        let bounded = logits.holds(logit) ? place : Double(Self.buckets)
        return Int(truncatingIfNeeded: (bounded + 0x1p52).bitPattern) & 0xFFF
    }

    /// The bucket in which, from the largest logits on, a limit is reached, or nil where none is.
    /// - Parameters:
    ///   - limits: Of mass and number.
    ///   - above: Mass and number of what lies above; grows by the buckets before the one returned.
    func boundary(_ limits: SIMD2<Double>, _ above: inout SIMD2<Double>) -> Bucket? {
        for bucket in 0..<Self.buckets {
            let start = bucket * Self.lanes
            let next = sums[start..<start + Self.lanes].reduce(above, +)
            if any(next .>= limits) { return Bucket(logits: logits(of: bucket), count: Int((next - above)[1])) }
            above = next
        }
        return nil
    }

    /// The smallest and the largest float of a bucket, which holds some.
    private func logits(of bucket: Int) -> ClosedRange<Float> {
        let least = leastLogit { $0 <= bucket }
        return least...max(least, bucket == 0 ? logits.upperBound : leastLogit { $0 < bucket }.nextDown)
    }

    /// The smallest float of the range whose bucket fulfils `predicate`, as all above it do: by bisection of the floats in
    /// their order.
    private func leastLogit(where predicate: (Int) -> Bool) -> Float {
        var (below, found) = (Self.place(of: logits.lowerBound) - 1, Self.place(of: logits.upperBound))
        while found - below > 1 {
            let middle = below + (found - below) / 2
            if predicate(bucket(of: Self.logit(at: middle))) { found = middle } else { below = middle }
        }
        return Self.logit(at: found)
    }

    /// Numbers floats in their order; both zeros are 0.
    private static func place(of logit: Float) -> Int {
        let magnitude = Int(logit.magnitude.bitPattern)
        return logit < 0 ? -magnitude : magnitude
    }

    private static func logit(at place: Int) -> Float {
        let magnitude = Float(bitPattern: UInt32(place.magnitude))
        return place < 0 ? -magnitude : magnitude
    }
}

extension ClosedRange<Float> {
    /// The same as `contains`, without branches, which no processor could foresee.
    @inline(__always) func holds(_ value: Float) -> Bool {
        value == Swift.min(Swift.max(value, lowerBound), upperBound)
    }
}
