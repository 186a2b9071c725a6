import Foundation

extension Report {
    /// Two tables, throughput and latencies, and what failed. Times are in milliseconds.
    public var text: String {
        var rates = [
            [
                levelName, "requests", "cancelled", "failed", "requests/s", "in tok/s", "out tok/s", "steady tok/s",
                "cached in",
            ]
        ]
        for level in levels {
            rates.append([
                Self.number(level.level), "\(level.completed.count)", "\(level.cancelledCount)",
                "\(level.failedCount)", Self.number(level.requestRate), Self.number(level.inputRate),
                Self.number(level.outputRate), Self.number(level.steadyState?.rate),
                level.cachedTokens.map { "\($0)" } ?? "-",
            ])
        }
        var latencies = [[levelName, "ms", "mean", "p50", "p90", "p99", "max"]]
        for level in levels {
            // In a closed loop nobody queues for sending.
            for latency in LevelReport.Latency.allCases where latency != .queue || levelName == "rate" {
                let statistic = Statistic(level.values(latency))
                let values = [statistic?.mean, statistic?.p50, statistic?.p90, statistic?.p99, statistic?.max]
                latencies.append(
                    [Self.number(level.level), latency.rawValue]
                        + values.map { Self.number($0.map { $0 * 1000 }) })
            }
        }
        var text = Self.table(rates) + "\n\n" + Self.table(latencies)
        if !levels.allSatisfy(\.isCountedByServer) {
            text += "\n\nThe server sent no usage: chunks with text stand for generated tokens."
        }
        for level in levels {
            for failure in level.failures {
                text += "\n\(levelName) \(Self.number(level.level)): \(failure.count) failed, \(failure.kind)"
                text += ": \(failure.example)"
            }
        }
        return text
    }

    /// Three significant digits or so; "-" for nothing.
    private static func number(_ value: Double?) -> String {
        guard let value else { return "-" }
        if value == value.rounded(), abs(value) < 1e6 { return String(Int(value)) }
        return String(format: abs(value) < 10 ? "%.2f" : abs(value) < 1000 ? "%.1f" : "%.0f", value)
    }

    /// Columns aligned to the right.
    private static func table(_ rows: [[String]]) -> String {
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }.joined(separator: "  ")
        }.joined(separator: "\n")
    }
}
