import Checkpoints
import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// Experts of several chunks, most of which lie within one tensor and are sent from where it is mapped.
@Suite(.serialized) struct WideExpertServingTests {
    @Test("chunks within a tensor and across several are the tensors' bytes", arguments: [false, true])
    func chunks(withKeys: Bool) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "wide-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var synthesis = Synthesis(.tiny)
        synthesis.config.vocabularySize = 300
        synthesis.config.hiddenSize = 512
        synthesis.config.intermediateSize = 576
        synthesis.layerCount = 1
        try synthesis.write(to: folder)
        let checkpoint = try Checkpoint(directory: folder)
        let shape = ModelShape(checkpoint.expertConfig)
        let keys = try withKeys ? TestKeys() : nil
        let worker = try keys?.worker().protection ?? .thisMachineOnly
        let coordinator = try Coordinator(
            checkpoint: checkpoint, precision: .int8, bind: "tcp://127.0.0.1:0",
            protection: keys?.coordinator ?? .thisMachineOnly, localExperts: nil, log: .silent)
        defer { coordinator.shutdown() }
        let fetcher = try RawFetcher(joining: coordinator.endpoint, shape: shape, protection: worker)
        let chunks = Chunks(of: fetcher.identity)
        #expect(chunks.count > 3)
        for expert in [ExpertID(layer: 0, expert: 0), ExpertID(layer: 0, expert: shape.experts - 1)] {
            let bytes = checkpoint.slices(layer: expert.layer, expert: expert.expert).flatMap(Array.init)
            for index in 0..<chunks.count {
                try fetcher.ask(.chunk(expert, index))
                let answer = try #require(try fetcher.weights.receive())
                #expect(answer.count == 2 && answer[1] == Array(bytes[chunks.range(index)]))
            }
        }
    }
}
