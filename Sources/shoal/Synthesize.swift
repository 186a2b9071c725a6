import Checkpoints
import Foundation

enum Synthesize: Command {
    static let name = "synthesize"
    static let summary = "Write a checkpoint of any shape with random weights."
    static let discussion = """
        For tests, demonstrations and measurements without real weights. The same flags write the same bytes on every
        machine. Dimensions that are not given are the preset's.
        """
    static let flags =
        [
            Flag("preset", "NAME", "tiny (default), gpt-oss-20b (13.8 GB) or gpt-oss-120b (65 GB)."),
            Flag("out", "DIR", "The folder to write; it must be absent or empty."),
            Flag("seed", "N", "Which of all checkpoints of this shape (default 0)."),
            Flag("tokenizer", "FILE", "The tokenizer.json to copy (default: a made-up one)."),
            Flag("experts-format", "F", "mxfp4 (default) or bf16: how the experts are stored."),
        ] + dimensions.map(\.flag)

    private struct Dimension {
        let flag: Flag
        let path: WritableKeyPath<Synthesis, Int>
    }

    private static var dimensions: [Dimension] {
        [
            Dimension(flag: Flag("layers", "N", "Layers, sliding and full attention in turn."), path: \.layerCount),
            Dimension(flag: Flag("hidden", "N", "Width of the residual stream."), path: \.config.hiddenSize),
            Dimension(flag: Flag("intermediate", "N", "Width inside an expert."), path: \.config.intermediateSize),
            Dimension(flag: Flag("heads", "N", "Query heads."), path: \.config.headCount),
            Dimension(flag: Flag("kv-heads", "N", "Key and value heads."), path: \.config.keyValueHeadCount),
            Dimension(flag: Flag("head-dimension", "N", "Width of a head."), path: \.config.headDimension),
            Dimension(flag: Flag("experts", "N", "Experts in a layer."), path: \.config.expertCount),
            Dimension(flag: Flag("experts-per-token", "N", "Experts for each token."), path: \.config.expertsPerToken),
            Dimension(flag: Flag("vocabulary", "N", "Token ids."), path: \.config.vocabularySize),
            Dimension(
                flag: Flag("sliding-window", "N", "Keys that a sliding layer sees."), path: \.config.slidingWindow),
            Dimension(flag: Flag("max-positions", "N", "Positions the model knows."), path: \.config.maxPositions),
        ]
    }

    static func run(_ arguments: Arguments) async throws {
        let out = URL(fileURLWithPath: try arguments.required("out"))
        var synthesis = Synthesis(try arguments.choice("preset", default: .tiny))
        synthesis.seed = UInt64(try arguments.integer("seed", in: 0...Int.max) ?? 0)
        synthesis.tokenizer = arguments.string("tokenizer").map { URL(fileURLWithPath: $0) }
        synthesis.config.expertFormat = try arguments.choice("experts-format", default: .mxfp4)
        for dimension in dimensions {
            if let value = try arguments.integer(dimension.flag.name, in: 1...1 << 40) {
                synthesis[keyPath: dimension.path] = value
            }
        }
        let progress = Progress("writing")
        try synthesis.write(to: out) { done, total in progress.show(Double(done) / Double(max(1, total))) }
        try printOutput("wrote \(out.path): random weights, so whatever it answers is babble")
    }
}
