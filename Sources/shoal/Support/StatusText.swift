import Engine
import Foundation
import JSON

/// What `GET /cluster` answers, for people: lines of at most a hundred columns.
struct StatusText {
    private let status: JSONValue
    private let members: [JSONValue]

    init(_ status: JSONValue) {
        self.status = status
        members = status["workers"]?.array ?? []
    }

    var summary: [String] {
        let state = status["ready"]?.bool == true ? "ready" : "not ready"
        let insecure = "INSECURE: messages are neither encrypted nor authenticated; see `shoal keygen --help`"
        let isComputing = status["localExperts"]?.bool != false
        let own =
            "the coordinator computes "
            + (status["sharesWork"]?.bool == true ? "a share of every batch" : "what no worker does")
            + ": \(Self.count(status["rowsComputedHere"])) rows so far"
        return [
            "\(state); epoch \(text("epoch")), \(text("experts")) experts, \(text("unownedExperts")) with "
                + (isComputing ? "the coordinator" : "nobody")
                + ", \(text("replicas")) replicas (\(text("replication")))"
        ] + (isComputing ? [own] : []) + (status["protection"]?.string == "insecure" ? [insecure] : [])
    }

    /// A table.
    var workers: [String] {
        guard !members.isEmpty else { return [] }
        let header = ["WORKER", "STATE", "EXPERTS", "SHARE", "SPEED", "ROWS", "MS/BATCH", "SENT", "RECEIVED", "FAILED"]
        let rows = members.map { worker in
            [
                Self.shortened(Self.text(worker["name"]), to: 22), state(of: worker), Self.text(worker["experts"]),
                Self.percent(worker["share"]), Self.count(worker["speed"]), Self.count(worker["rows"]),
                String(format: "%.2f", worker["millisecondsPerBatch"]?.number?.double ?? 0),
                Self.bytes(worker["bytesSent"]), Self.bytes(worker["bytesReceived"]), Self.text(worker["failures"]),
            ]
        }
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        return ([header] + rows).map { row in
            zip(row, widths).map { $0.padding(toLength: $1, withPad: " ", startingAt: 0) }.joined(separator: "  ")
        }
    }

    /// The experts with the largest parts of their layers' rows.
    var hottest: [String] {
        let experts = (status["hottest"]?.array ?? []).map {
            "\(Self.text($0["layer"])).\(Self.text($0["expert"])) \(Self.percent($0["share"])) x\(Self.text($0["copies"]))"
        }
        return experts.isEmpty ? [] : Self.wrapped("hottest (layer.expert, part of its rows, copies): ", experts)
    }

    var holdOffs: [String] {
        (status["holdOffs"]?.array ?? []).map {
            let why = $0["banished"]?.bool == true ? "sent away" : "\(Self.text($0["deaths"])) deaths in a row"
            return "held off: \(Self.text($0["owner"])), \(why), \(Self.text($0["seconds"])) s more"
        }
    }

    /// Who holds what, consecutive layers with the same experts in one line.
    var placement: [String] {
        members.flatMap { worker in
            let layers = (worker["holdings"]?.array ?? []).map { $0.string ?? "" }
            var lines: [String] = []
            var first = 0
            for layer in layers.indices where layer + 1 == layers.count || layers[layer + 1] != layers[layer] {
                let name = first == layer ? "layer \(first): " : "layers \(first)-\(layer): "
                let experts = layers[layer].split(separator: ",").map(String.init)
                if !experts.isEmpty { lines += Self.wrapped("  " + name, experts) }
                first = layer + 1
            }
            return lines.isEmpty ? [] : [Self.text(worker["name"]) + " holds"] + lines
        }
    }

    /// Of a worker that loads, also how far it is, and of one that is held why.
    private func state(of worker: JSONValue) -> String {
        let state = Self.text(worker["state"])
        if let hold = worker["hold"]?.string { return "\(state) (\(hold), \(Self.text(worker["holdSeconds"])) s)" }
        guard let loaded = worker["loadedBytes"]?.integer, let wanted = worker["wantedBytes"]?.integer, loaded < wanted
        else { return state }
        return "\(state) (\(KVMemory.text(loaded)) of \(KVMemory.text(wanted)))"
    }

    private func text(_ name: String) -> String { Self.text(status[name]) }

    private static func text(_ value: JSONValue?) -> String {
        switch value {
        case .string(let text): text
        case .number(let number): number.text
        default: "-"
        }
    }

    private static func percent(_ value: JSONValue?) -> String {
        value?.number?.double.map { "\(Int(($0 * 100).rounded()))%" } ?? "-"
    }

    /// Such as 950, 12k or 3M.
    private static func count(_ value: JSONValue?) -> String {
        guard let number = value?.integer else { return "-" }
        for (unit, suffix) in [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")] where number >= unit * 10 {
            return "\(number / unit)\(suffix)"
        }
        return "\(number)"
    }

    private static func bytes(_ value: JSONValue?) -> String { value?.integer.map(KVMemory.text) ?? "-" }

    private static func shortened(_ text: String, to most: Int) -> String {
        text.count > most ? text.prefix(most - 1) + "…" : text
    }

    /// Items behind a heading, on as many lines as they need, the later ones indented.
    private static func wrapped(_ heading: String, _ items: [String]) -> [String] {
        var lines = [heading]
        var isFirst = true
        for (index, item) in items.enumerated() {
            let piece = index + 1 < items.count ? item + "," : item
            if (lines.last?.count ?? 0) + piece.count + 1 > 100, !isFirst {
                lines.append("    " + piece)
            } else {
                lines[lines.count - 1] += (isFirst ? "" : " ") + piece
            }
            isFirst = false
        }
        return lines
    }
}
