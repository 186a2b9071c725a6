import Foundation

/// How long prompts or answers are, in tokens.
public enum LengthDistribution: Sendable, Equatable {
    /// Always the same.
    case constant(Int)
    /// Every length of the range as likely as any other.
    case uniform(ClosedRange<Int>)
    /// The bell curve with this mean and standard deviation.
    case normal(mean: Double, deviation: Double)
    /// Lengths whose logarithm is normal: this median, and this standard deviation of the natural logarithm.
    case logNormal(median: Double, sigma: Double)

    /// No length is greater.
    public static let maximum = 1 << 20

    /// Reads `128`, `uniform:16-512`, `normal:256,64` or `lognormal:200,0.8`.
    /// - Throws: ``LoadError``.
    public init(_ text: String) throws {
        let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
        let numbers = (parts.last ?? "").split(separator: ",").map { Double($0) ?? .nan }
        switch (parts.count, parts.first) {
        case (1, _):
            guard let length = Int(text), (1...Self.maximum).contains(length) else { throw Self.refusal(text) }
            self = .constant(length)
        case (2, "uniform"):
            guard let range = ClosedRange(parsing: parts[1]), range.lowerBound >= 1, range.upperBound <= Self.maximum
            else { throw Self.refusal(text) }
            self = .uniform(range)
        case (2, "normal"), (2, "lognormal"):
            guard numbers.count == 2, (1...Double(Self.maximum)).contains(numbers[0]), numbers[1] >= 0,
                numbers[1] <= Double(Self.maximum)
            else { throw Self.refusal(text) }
            self =
                parts[0] == "normal"
                ? .normal(mean: numbers[0], deviation: numbers[1]) : .logNormal(median: numbers[0], sigma: numbers[1])
        default: throw Self.refusal(text)
        }
    }

    private static func refusal(_ text: String) -> LoadError {
        LoadError(
            "'\(text)' is no distribution of lengths; expected 128, uniform:16-512, normal:256,64 (mean, deviation) or "
                + "lognormal:200,0.8 (median, sigma), with lengths from 1 to \(maximum)")
    }

    /// Draws one length, from 1 to ``maximum``.
    package func sample(_ random: inout SeededRandom) -> Int {
        switch self {
        case .constant(let length): length
        case .uniform(let range): Int.random(in: range, using: &random)
        case .normal(let mean, let deviation): Self.whole(mean + deviation * Self.standardNormal(&random))
        case .logNormal(let median, let sigma): Self.whole(median * exp(sigma * Self.standardNormal(&random)))
        }
    }

    private static func whole(_ value: Double) -> Int { Int(min(max(value, 1), Double(maximum)).rounded()) }

    /// Box and Muller, 1958.
    private static func standardNormal(_ random: inout SeededRandom) -> Double {
        let radius = (-2 * log(1 - random.uniform())).squareRoot()
        return radius * cos(2 * .pi * random.uniform())
    }
}

extension LengthDistribution: CustomStringConvertible {
    /// The text that reads back as the same distribution.
    public var description: String {
        switch self {
        case .constant(let length): "\(length)"
        case .uniform(let range): "uniform:\(range.lowerBound)-\(range.upperBound)"
        case .normal(let mean, let deviation): "normal:\(mean),\(deviation)"
        case .logNormal(let median, let sigma): "lognormal:\(median),\(sigma)"
        }
    }
}

extension ClosedRange<Int> {
    /// Reads `16-512`; nil where that is not two whole numbers in order.
    public init?(parsing text: String) {
        let bounds = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard bounds.count == 2, let lower = bounds[0], let upper = bounds[1], lower <= upper else { return nil }
        self = lower...upper
    }
}
