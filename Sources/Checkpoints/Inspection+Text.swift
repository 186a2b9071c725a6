internal import Foundation

extension Inspection {
    /// The report for a reader: architecture, tensors (those of all layers on one line), types, files, the verdict.
    public var text: String {
        ([directory.path] + architecture + tensorLines + typeLines + fileLines + verdict).joined(separator: "\n") + "\n"
    }

    private var architecture: [String] {
        guard let config else { return [] }
        let sliding = config.layerTypes.count { $0 == .slidingAttention }
        return [
            "", "architecture",
            "  GptOssForCausalLM, \(count(parameterCount)) parameters, experts in \(config.expertFormat.rawValue)",
            "  \(config.layerCount) layers: \(sliding) sliding over \(config.slidingWindow), "
                + "\(config.layerCount - sliding) full; up to \(config.maxPositions) positions",
            "  hidden \(config.hiddenSize), intermediate \(config.intermediateSize), vocabulary \(config.vocabularySize)",
            "  \(config.headCount) heads of \(config.headDimension), \(config.keyValueHeadCount) of keys and values",
            "  \(config.expertCount) experts a layer, \(config.expertsPerToken) for each token",
            "  YaRN: theta \(config.rope.theta), factor \(config.rope.factor) over \(config.rope.originalMaxPositions)",
            "  end of sequence: \(config.endOfSequenceTokens.map(String.init).joined(separator: ", "))",
        ]
    }

    private var tensorLines: [String] {
        struct Group: Hashable {
            let name: String
            let type: String
            let shape: [Int]
        }
        var order: [Group] = []
        var members: [Group: (count: Int, size: Int)] = [:]
        for tensor in tensors {
            let name = tensor.name.split(separator: ".", omittingEmptySubsequences: false)
                .map { Int($0) == nil ? $0 : "N" }.joined(separator: ".")
            let mark = tensor.isUsed ? "" : "  (not used)"
            let group = Group(name: name + mark, type: tensor.elementType, shape: tensor.shape)
            if members[group] == nil { order.append(group) }
            members[group, default: (0, 0)].count += 1
            members[group, default: (0, 0)].size += tensor.size
        }
        guard !order.isEmpty else { return [] }
        let lines = order.map { group in
            let (count, size) = members[group] ?? (0, 0)
            return "  " + left("\(count)", 4) + " × " + right(group.type, 5) + right(shown(group.shape), 24)
                + left(bytes(size), 11) + "  " + String(shown(group.name).dropFirst().dropLast())
        }
        return ["", "\(tensors.count) tensors"] + lines
    }

    private var typeLines: [String] {
        tensors.isEmpty
            ? []
            : ["", "by type"]
                + bytesByElementType.map {
                    "  " + right($0.elementType, 5) + left(bytes($0.bytes), 11) + " in \($0.tensors)"
                }
    }

    private var fileLines: [String] {
        files.isEmpty
            ? []
            : ["", "\(files.count) files"]
                + files.map { "  " + left(bytes($0.size), 11) + "  \($0.name)\n    sha256 \($0.sha256 ?? "unknown")" }
    }

    private var verdict: [String] {
        isSound ? ["", "sound"] : ["", "NOT SOUND: \(problems.count) problems"] + problems.map { "  \($0)" }
    }

    private func right(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    private func left(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    private func bytes(_ count: Int) -> String {
        for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] where count >= size {
            return "\(Double(count * 100 / size) / 100) \(unit)"
        }
        return "\(count) B"
    }

    private func count(_ parameters: Int) -> String {
        for (unit, size) in [("billion", 1_000_000_000), ("million", 1_000_000)] where parameters >= size {
            return "\(Double(parameters * 10 / size) / 10) \(unit)"
        }
        return "\(parameters)"
    }
}
