extension Report {
    /// An SVG file: over the levels where there are several, or of one level's latencies.
    public func plot(title: String) -> String {
        Chart(title: title, panels: levels.count > 1 ? sweep : levels.first.map(distributions) ?? []).svg
    }

    private var sweep: [Chart.Panel] {
        let places = levels.map(\.level)
        let axis = levelName == "rate" ? "requests a second" : "clients at once"
        func series(_ name: String, _ value: (LevelReport) -> Double?) -> Chart.Series {
            Chart.Series(name, levels.compactMap { level in value(level).map { (level.level, $0) } })
        }
        func latency(_ latency: LevelReport.Latency) -> [Chart.Series] {
            let statistics = levels.map { ($0.level, Statistic($0.values(latency))) }
            let percentiles: [(String, KeyPath<Statistic, Double>)] = [("p50", \.p50), ("p90", \.p90), ("p99", \.p99)]
            return percentiles.map { name, path in
                Chart.Series(
                    name, statistics.compactMap { place, found in found.map { (place, $0[keyPath: path] * 1000) } })
            }
        }
        return [
            Chart.Panel(
                title: "Generated tokens a second", xLabel: axis,
                series: [series("overall", \.outputRate), series("steady state") { $0.steadyState?.rate }]
                    .filter { !$0.points.isEmpty }, levels: places),
            Chart.Panel(
                title: "Time to first token, ms", xLabel: axis, series: latency(.timeToFirstToken), levels: places),
            Chart.Panel(
                title: "Inter-token latency, ms", xLabel: axis, series: latency(.interTokenLatency), levels: places),
        ]
    }

    private func distributions(_ level: LevelReport) -> [Chart.Panel] {
        let latencies: [(LevelReport.Latency, String)] = [
            (.timeToFirstToken, "Time to first token"), (.interTokenLatency, "Inter-token latency"),
            (.endToEnd, "End to end"),
        ]
        return latencies.map { latency, name in
            let sorted = level.values(latency).sorted()
            // A few hundred points draw the same curve as a million.
            let count = min(sorted.count, 300)
            let points = (0..<count).map { place in
                let rank = count == 1 ? 0 : place * (sorted.count - 1) / (count - 1)
                return (x: sorted[rank] * 1000, y: 100 * Double(rank + 1) / Double(sorted.count))
            }
            return Chart.Panel(
                title: name + ": % of measurements within", xLabel: "ms", series: [Chart.Series("share", points)])
        }
    }
}
