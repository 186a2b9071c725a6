import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing

@Suite("A synthesis")
struct SynthesisTests {
    private func small(_ change: (inout Synthesis) -> Void = { _ in }) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        var synthesis = Synthesis(.tiny)
        synthesis.config.vocabularySize = 300
        synthesis.config.hiddenSize = 96
        synthesis.config.intermediateSize = 64
        synthesis.layerCount = 3
        change(&synthesis)
        try synthesis.write(to: folder.url)
        return folder
    }

    @Test("of the tiny preset is sound and of tens of megabytes")
    func tiny() throws {
        let folder = try TemporaryFolder()
        try Synthesis(.tiny).write(to: folder.url)
        let inspection = Inspection(directory: folder.url, cache: .none)
        #expect(inspection.problems == [])
        #expect((10_000_000..<50_000_000).contains(inspection.files.reduce(0) { $0 + $1.size }))
    }

    @Test("of unquantised experts is sound")
    func bf16() throws {
        let folder = try small { $0.config.expertFormat = .bf16 }
        #expect(Inspection(directory: folder.url, cache: .none).problems == [])
    }

    @Test("depends on the seed and a tensor's name alone")
    func deterministic() throws {
        func layer(_ folder: TemporaryFolder) throws -> LayerTensors {
            try Checkpoint(directory: folder.url).layers[1]
        }
        let one = try layer(small())
        // Another number of experts in another order of files changes nothing about the attention's weights.
        let other = try layer(
            small {
                $0.config.expertCount = 4
                $0.maximumFileSize = 50_000
            })
        #expect(contents(one.queryWeight) == contents(other.queryWeight))
        #expect(try contents(one.queryWeight) != contents(layer(small { $0.seed = 1 }).queryWeight))
        #expect(contents(one.keyWeight) != contents(one.valueWeight))
        let first = try small()
        let second = try small()
        for name in try FileManager.default.contentsOfDirectory(atPath: first.url.path) {
            #expect(try first.data(name) == second.data(name), "\(name)")
        }
    }

    @Test("has weights of the variance that keeps activations in bounds")
    func variance() throws {
        let folder = try small {
            $0.config.hiddenSize = 256
            $0.config.intermediateSize = 160
        }
        let checkpoint = try Checkpoint(directory: folder.url)
        let layer = checkpoint.layers[0]
        #expect(abs(rms(bf16(layer.queryWeight)) * 16 - 1) < 0.02)
        #expect(abs(rms(bf16(checkpoint.embedding)) - 1) < 0.02)
        guard case .mxfp4(let gateUpBlocks, let gateUpScales, _, let downBlocks, let downScales, _) = layer.experts
        else { throw CheckpointError("no MXFP4") }
        #expect(abs(rms(mxfp4(gateUpBlocks, gateUpScales)) * 16 / 2 - 1) < 0.02)
        #expect(abs(rms(mxfp4(downBlocks, downScales)) * (160.0 * 3).squareRoot() * 2 - 1) < 0.02)
    }

    @Test("names the ends of a sequence as its tokenizer does")
    func tokenizer() throws {
        let folder = try small()
        let tokenizer = try folder.json("tokenizer.json")
        let tokens = try #require(tokenizer["added_tokens"]?.array)
        let ids = try ["<|return|>", "<|endoftext|>", "<|call|>"].map { name in
            Int32(try #require(tokens.first { $0["content"]?.string == name }?["id"]?.integer))
        }
        #expect(try Checkpoint(directory: folder.url).config.endOfSequenceTokens == ids)
        let vocabulary = try #require(tokenizer["model"]?["vocab"]?.object?.members)
        #expect(vocabulary.count + tokens.count == 300)
        #expect(Set(vocabulary.map(\.name)).count == vocabulary.count)
        #expect(vocabulary.compactMap(\.value.integer) == Array(0..<vocabulary.count))
    }

    @Test("copies a tokenizer that is given, and refuses one with more ids than the vocabulary")
    func givenTokenizer() throws {
        let source = try #require(Fixtures.models.first).appending(path: "tokenizer.json")
        let folder = try small {
            $0.tokenizer = source
            $0.config.vocabularySize = 3000
        }
        #expect(try folder.data("tokenizer.json") == Data(contentsOf: source))
        #expect(throws: CheckpointError.self) { try small { $0.tokenizer = source } }
    }

    @Test("refuses a shape that no config may have, and a folder that is not empty")
    func refused() throws {
        #expect(throws: CheckpointError.self) { try small { $0.config.headDimension = 7 } }
        #expect(throws: CheckpointError.self) { try small { $0.config.vocabularySize = 276 } }
        #expect(throws: CheckpointError.self) { try small { $0.layerCount = 0 } }
        #expect(throws: CheckpointError.self) { try small { $0.layerCount = .max } }
        #expect(throws: CheckpointError.self) { try small { $0.config.vocabularySize = .max } }
        let folder = try TemporaryFolder()
        try folder.write(Data([1]), to: "precious")
        var synthesis = Synthesis(.tiny)
        synthesis.layerCount = 1
        #expect(throws: CheckpointError.self) { try synthesis.write(to: folder.url) }
        #expect(try folder.data("precious") == Data([1]))
    }

    @Test("that no disk can hold is refused before it is begun, and leaves nothing behind")
    func tooLarge() throws {
        let folder = try TemporaryFolder()
        var synthesis = Synthesis(.tiny)
        synthesis.config.hiddenSize = 1 << 17
        synthesis.config.intermediateSize = 1 << 17
        synthesis.config.expertCount = 1 << 14
        synthesis.layerCount = 1 << 10
        #expect(throws: CheckpointError.self) { try synthesis.write(to: folder.url) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    }

    @Test("that was cut short is no checkpoint, and is begun again")
    func interrupted() throws {
        let folder = try small()
        try FileManager.default.removeItem(at: folder.url.appending(path: "config.json"))
        try folder.write(Data(), to: "synthesis.partial")
        #expect(!Inspection(directory: folder.url, cache: .none).isSound)
        var synthesis = Synthesis(.tiny)
        synthesis.layerCount = 1
        try synthesis.write(to: folder.url)
        #expect(Inspection(directory: folder.url, cache: .none).isSound)
        #expect(!FileManager.default.fileExists(atPath: folder.url.appending(path: "synthesis.partial").path))
    }

    private func bf16(_ tensor: Tensor) -> [Float] {
        contents(tensor).withUnsafeBytes { $0.bindMemory(to: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) } }
    }

    private func mxfp4(_ blocks: Tensor, _ scales: Tensor) -> [Float] {
        let values: [Float] = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
        let scales = contents(scales)
        return contents(blocks).enumerated().flatMap { index, byte in
            let scale = Float(sign: .plus, exponent: Int(scales[index / 16]) - 127, significand: 1)
            return [byte & 7, byte >> 4 & 7].map { values[Int($0)] * scale }
        }
    }

    private func rms(_ values: [Float]) -> Float {
        (values.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot()
    }
}
