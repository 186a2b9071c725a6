/// The least likely token of those that are kept: what comes before it in descending order of logits, ties by ascending
/// id, is kept too.
struct LastToken {
    var logit: Float
    var id: Int

    /// Of all tokens.
    static let ofAll = LastToken(logit: -.infinity, id: .max - 1)
}

extension SamplingParameters {
    /// Whether tokens are left out.
    var truncates: Bool { topK > 0 || topP < 1 || minP > 0 }
}

extension WeightedRow {
    /// Leaves weight only to what top-k, then top-p, then min-p keep.
    package mutating func truncate(_ parameters: SamplingParameters) {
        var candidates = weights.count
        if parameters.topK > 0 {
            keep(upTo: last(count: parameters.topK, mass: .infinity, of: candidates), floor: 0)
            candidates = min(candidates, parameters.topK)
        }
        guard parameters.topP < 1 || parameters.minP > 0 else { return }
        let target = Double(parameters.topP) * mass
        keep(
            upTo: parameters.topP < 1 ? last(count: .max, mass: target, of: candidates) : .ofAll, floor: parameters.minP
        )
    }

    /// The tokens that have weight, by ascending id.
    package var kept: [Int32] {
        weights.indices.filter { weights[$0] > 0 }.map { Int32(truncatingIfNeeded: $0) }
    }

    /// The last of the fewest most likely tokens that are so many or weigh so much.
    ///
    /// Nothing is sorted but the few tokens around the last one, found by histograms of ever narrower ranges of logits:
    /// the time hardly depends on the distribution.
    /// - Parameter candidates: At most so many tokens have weight.
    private func last(count: Int, mass: Double, of candidates: Int) -> LastToken {
        let limits = SIMD2(mass, Double(count))
        var above = SIMD2<Double>()
        var bucket = WeightHistogram.Bucket(logits: leastLogit...row.maximum, count: candidates)
        while bucket.logits.lowerBound < bucket.logits.upperBound {
            guard bucket.count > 1024 else { return last(sorting: bucket, limits, above) }
            let histogram = WeightHistogram(self, logits: bucket.logits)
            guard let next = histogram.boundary(limits, &above) else { return .ofAll }
            bucket = next
        }
        return last(ofEqual: bucket, limits, above)
    }

    private func last(
        sorting bucket: WeightHistogram.Bucket, _ limits: SIMD2<Double>, _ above: SIMD2<Double>
    ) -> LastToken {
        let logits = row.logits
        var ids: [Int] = []
        for id in logits.indices where bucket.logits.holds(logits[id]) && weights[id] > 0 { ids.append(id) }
        ids.sort { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        var sums = above
        for id in ids {
            sums += SIMD2(Double(weights[id]), 1)
            if any(sums .>= limits) { return LastToken(logit: logits[id], id: id) }
        }
        return .ofAll
    }

    /// The last of tokens that all have one logit.
    private func last(
        ofEqual bucket: WeightHistogram.Bucket, _ limits: SIMD2<Double>, _ above: SIMD2<Double>
    ) -> LastToken {
        let logit = bucket.logits.lowerBound
        guard var id = row.logits.firstIndex(of: logit) else { return .ofAll }
        let missing = (limits - above) / SIMD2(Double(weights[id]), 1)
        var left = Int(max(1, min(Double(bucket.count), missing.min())).rounded(.up)) - 1
        while left > 0, id + 1 < row.logits.count {
            id += 1
            left -= row.logits[id] == logit ? 1 : 0
        }
        return LastToken(logit: logit, id: id)
    }

    /// No token with a smaller logit has weight.
    private var leastLogit: Float {
        guard let logits = UnsafeRawPointer(row.logits.baseAddress), let weights = UnsafeRawPointer(weights.baseAddress)
        else { return row.maximum }
        var least = SIMD16(repeating: row.maximum)
        let whole = row.logits.count / 16 * 16
        for offset in stride(from: 0, to: whole * 4, by: 64) {
            let logit = logits.loadUnaligned(fromByteOffset: offset, as: SIMD16<Float>.self)
            let weight = weights.loadUnaligned(fromByteOffset: offset, as: SIMD16<Float>.self)
            least.replace(with: logit, where: (logit .< least) .& (weight .> 0))
        }
        return (whole..<row.logits.count).reduce(least.min()) {
            self.weights[$1] > 0 ? min($0, row.logits[$1]) : $0
        }
    }
}
