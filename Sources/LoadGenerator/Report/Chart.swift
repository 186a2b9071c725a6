import Foundation

/// A few line charts below each other, as one SVG file that needs nothing else and follows the reader's light or dark
/// setting.
package struct Chart: Sendable {
    /// One curve.
    package struct Series: Sendable {
        /// What the legend calls it.
        package var name: String
        package var points: [(x: Double, y: Double)]

        package init(_ name: String, _ points: [(x: Double, y: Double)]) {
            self.name = name
            self.points = points
        }
    }

    /// Curves over common axes, both from zero on.
    package struct Panel: Sendable {
        package var title: String
        package var xLabel: String
        package var series: [Series]
        /// Where given, the x values stand at equal distances, in this order, as a sweep's levels do.
        package var levels: [Double]?

        package init(title: String, xLabel: String, series: [Series], levels: [Double]? = nil) {
            self.title = title
            self.xLabel = xLabel
            self.series = series
            self.levels = levels
        }
    }

    private static let width = 720.0
    private static let panelHeight = 260.0
    private static let plot = (left: 70.0, top: 40.0, width: 480.0, height: 160.0)

    private let title: String
    private let panels: [Panel]

    package init(title: String, panels: [Panel]) {
        self.title = title
        self.panels = panels
    }

    /// The file's text.
    package var svg: String {
        let height = 40 + Self.panelHeight * Double(panels.count)
        var svg = """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(Int(Self.width))" height="\(Int(height))" \
            viewBox="0 0 \(Int(Self.width)) \(Int(height))">
            <style>
            :root { color-scheme: light dark; }
            text { font: 12px system-ui, sans-serif; fill: #333; } .title { font-size: 15px; font-weight: 600; }
            .name { font-weight: 600; } .background { fill: #fff; } .grid { stroke: #ddd; } .axis { stroke: #888; }
            .s0 { stroke: #0b6bcb; fill: #0b6bcb; } .s1 { stroke: #c2410c; fill: #c2410c; }
            .s2 { stroke: #15803d; fill: #15803d; } .s3 { stroke: #7e22ce; fill: #7e22ce; }
            polyline { fill: none !important; stroke-width: 2; stroke-linejoin: round; }
            @media (prefers-color-scheme: dark) {
            text { fill: #ddd; } .background { fill: #16181d; } .grid { stroke: #333; } .axis { stroke: #777; }
            .s0 { stroke: #6cb6ff; fill: #6cb6ff; } .s1 { stroke: #ff9b6a; fill: #ff9b6a; }
            .s2 { stroke: #6fdd8b; fill: #6fdd8b; } .s3 { stroke: #d2a8ff; fill: #d2a8ff; }
            }
            </style>
            <rect class="background" width="100%" height="100%"/>
            <text class="title" x="16" y="26">\(Self.escaped(title))</text>

            """
        for (index, panel) in panels.enumerated() {
            svg += "<g transform=\"translate(0 \(40 + Int(Self.panelHeight) * index))\">\n"
            svg += Self.drawing(of: panel)
            svg += "</g>\n"
        }
        return svg + "</svg>\n"
    }

    private static func drawing(of panel: Panel) -> String {
        let yTicks = ticks(upTo: panel.series.flatMap { $0.points.map(\.y) }.max() ?? 0)
        let xTicks = panel.levels ?? ticks(upTo: panel.series.flatMap { $0.points.map(\.x) }.max() ?? 0)
        func x(_ value: Double) -> Double {
            guard let levels = panel.levels else { return plot.left + plot.width * value / (xTicks.last ?? 1) }
            let place = Double(levels.firstIndex(of: value) ?? 0) + 0.5
            return plot.left + plot.width * place / Double(levels.count)
        }
        func y(_ value: Double) -> Double { plot.top + plot.height * (1 - value / (yTicks.last ?? 1)) }

        var svg = "<text class=\"name\" x=\"16\" y=\"22\">\(escaped(panel.title))</text>\n"
        for tick in yTicks {
            svg += line("grid", plot.left, y(tick), plot.left + plot.width, y(tick))
            svg += text(plot.left - 8, y(tick) + 4, "end", label(tick))
        }
        let bottom = plot.top + plot.height
        svg += line("axis", plot.left, bottom, plot.left + plot.width, bottom)
        for tick in xTicks { svg += text(x(tick), bottom + 18, "middle", label(tick)) }
        svg += text(plot.left + plot.width / 2, bottom + 38, "middle", panel.xLabel)
        for (index, series) in panel.series.enumerated() {
            let color = "s\(index % 4)"
            let points = series.points.map { "\(rounded(x($0.x))),\(rounded(y($0.y)))" }
            svg += "<polyline class=\"\(color)\" points=\"\(points.joined(separator: " "))\"/>\n"
            if panel.levels != nil {
                for point in series.points {
                    svg += "<circle class=\"\(color)\" cx=\"\(rounded(x(point.x)))\" cy=\"\(rounded(y(point.y)))\""
                    svg += " r=\"3\"/>\n"
                }
            }
            guard panel.series.count > 1 else { continue }
            let legend = plot.top + 8 + 20 * Double(index)
            let right = plot.left + plot.width + 16
            svg += "<line class=\"\(color)\" stroke-width=\"2\" x1=\"\(right)\" y1=\"\(legend)\" x2=\"\(right + 20)\""
            svg += " y2=\"\(legend)\"/>\n" + text(right + 28, legend + 4, "start", series.name)
        }
        return svg
    }

    /// Round numbers from 0 to the first that is at least `greatest`.
    package static func ticks(upTo greatest: Double) -> [Double] {
        guard greatest > 0, greatest.isFinite else { return [0, 1] }
        let magnitude = pow(10, log10(greatest / 4).rounded(.down))
        let step = [1, 2, 2.5, 5, 10].map { $0 * magnitude }.first { $0 * 5 >= greatest } ?? greatest
        return (0...Int((greatest / step).rounded(.up))).map { Double($0) * step }
    }

    private static func label(_ value: Double) -> String { String(format: "%g", value) }

    private static func rounded(_ value: Double) -> String { String(format: "%.1f", value) }

    private static func line(_ style: String, _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double) -> String {
        "<line class=\"\(style)\" x1=\"\(x1)\" y1=\"\(rounded(y1))\" x2=\"\(x2)\" y2=\"\(rounded(y2))\"/>\n"
    }

    private static func text(_ x: Double, _ y: Double, _ anchor: String, _ text: String) -> String {
        "<text x=\"\(rounded(x))\" y=\"\(rounded(y))\" text-anchor=\"\(anchor)\">\(escaped(text))</text>\n"
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }
}
