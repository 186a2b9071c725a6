/// Metrics as Prometheus reads them (text exposition format 0.0.4).
public struct Exposition: Sendable {
    /// One value of a metric.
    public struct Sample: Sendable {
        let suffix: String
        let value: String

        /// - Parameter labels: by name, in order.
        public init(_ value: some CustomStringConvertible, _ labels: (String, String)...) {
            self.value = value.description
            let pairs = labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
            suffix = pairs.isEmpty ? "" : "{\(pairs)}"
        }

        init(suffix: String, _ value: some CustomStringConvertible) {
            self.suffix = suffix
            self.value = value.description
        }

        private static func escaped(_ text: String) -> String {
            text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
        }
    }

    /// All that was added.
    public private(set) var text = ""

    /// Nothing yet.
    public init() {}

    /// Adds a metric, whose name gets the prefix `shoal_`.
    /// - Parameters:
    ///   - type: counter, gauge or histogram.
    ///   - help: one line.
    public mutating func add(_ name: String, _ type: String, _ help: String, _ samples: [Sample]) {
        text += "# HELP shoal_\(name) \(help)\n# TYPE shoal_\(name) \(type)\n"
        for sample in samples { text += "shoal_\(name)\(sample.suffix) \(sample.value)\n" }
    }

    /// Adds a metric of one value.
    public mutating func add(_ name: String, _ type: String, _ help: String, _ value: Int) {
        add(name, type, help, [Sample(value)])
    }

    mutating func add(_ name: String, _ help: String, _ histogram: Histogram) {
        var sum = 0
        var samples: [Sample] = []
        for (index, count) in histogram.counts.enumerated() {
            sum += count
            let bound = index < histogram.bounds.count ? "\(histogram.bounds[index])" : "+Inf"
            samples.append(Sample(suffix: "_bucket{le=\"\(bound)\"}", sum))
        }
        add(name, "histogram", help, samples + [Sample(suffix: "_sum", histogram.sum), Sample(suffix: "_count", sum)])
    }
}
