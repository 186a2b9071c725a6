import Checkpoints
import Cluster
import Foundation
import Kernels
import TestSupport
import Testing
import Transformer

/// The fixtures' experts, through the public interface.
@Suite(.serialized) struct RealModelTests {
    @Test("a cluster computes the bytes that one process computes", arguments: Fixtures.models, Precision.allCases)
    func sameBytes(folder: URL, precision: Precision) async throws {
        let checkpoint = try Checkpoint(directory: folder)
        let alone = try LocalExperts(checkpoint, precision: precision, threads: 1)
        let coordinator = try Coordinator(
            checkpoint: checkpoint, precision: precision, bind: "tcp://127.0.0.1:0", localExperts: nil, log: .silent)
        let workers = try (0..<2).map { _ in
            try Worker(
                checkpoint: checkpoint, coordinators: [CoordinatorAddress(coordinator.endpoint)], threads: 1,
                log: .silent)
        }
        for worker in workers { Thread { try? worker.run() }.start() }
        defer {
            for worker in workers { worker.stop() }
            coordinator.shutdown()
        }
        try await withDeadline { try await coordinator.waitUntilReady(workers: 2) }

        let config = checkpoint.config
        let shape = ModelShape(checkpoint.expertConfig)
        try coordinator.executor.beginStep()
        for layer in 0..<config.layerCount {
            for rows in [1, 9] {
                let batch = TestBatch(
                    precision, shape: shape, layer: layer, seed: 7, rows: rows, topK: config.expertsPerToken)
                let sane = batch.sane()
                #expect(try sane.run(coordinator.executor) == sane.run(alone))
            }
        }
        try expectSameLogits(checkpoint, precision, coordinator.executor, alone)
        #expect(coordinator.status.workers.allSatisfy { $0.batches > 0 && $0.failures == 0 })
    }
}

/// A prompt in two micro-batches, and steps for which the policy decides.
private func expectSameLogits(
    _ checkpoint: Checkpoint, _ precision: Precision, _ cluster: ClusterExperts, _ alone: LocalExperts
) throws {
    let model = try Transformer(checkpoint: checkpoint, precision: precision, threads: 1)
    func logits(_ experts: any ExpertExecutor) throws -> [UInt32] {
        let caches = try (0..<3).map { _ in try model.makeCache() }
        return try (0..<9).flatMap { step in
            model.firstMicroBatch = step == 0 ? { $0 / 2 } : nil
            let tokens = (0..<(step == 0 ? 40 : 1)).map { Int32($0 * 7 + step) }
            let segments = caches.map { $0.segment(tokens, logits: .last) }
            return try model.forward(segments, experts: experts) { $0.map(\.bitPattern) }
        }
    }
    #expect(try logits(cluster) == logits(alone))
}

extension TestBatch {
    /// The same batch with values that a model could have: no NaN, no infinity.
    func sane() -> TestBatch {
        var copy = self
        switch format.precision {
        case .int8:
            copy.values = values.map { $0 == 0x80 ? 0 : $0 }
            // bfloat16 between 2^-7 and 2^-6.
            copy.scales = scales.enumerated().map { $0.offset % 2 == 0 ? $0.element & 0x7F : 0x3C }
        case .bf16:
            // bfloat16 of a magnitude below 8.
            copy.values = values.enumerated().map { $0.offset % 2 == 0 ? $0.element : 0x3E | $0.element & 0x82 }
        case .exact:
            copy.values = stride(from: 0, to: values.count, by: 4).flatMap { index in
                withUnsafeBytes(of: Float(Int8(bitPattern: values[index])) / 32, Array.init)
            }
        }
        return copy
    }
}
