import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// What the way to the workers and back costs. Timings are printed, not judged: other work on the machine decides them.
@Suite(.serialized) struct OverheadTests {
    /// Everything is zero.
    private final class NoExperts: ExpertExecutor {
        private let format: ExpertRowFormat
        init(_ format: ExpertRowFormat) { self.format = format }
        func beginStep() {}
        func start(_ batch: ExpertBatch) {
            batch.outputs.initializeMemory(
                as: UInt8.self, repeating: 0, count: batch.assignments.count * format.outputBytes)
        }
        func finish() {}
    }

    @Test(
        "dispatch and gather of one row of gpt-oss to two workers over TCP",
        .enabled(if: ProcessInfo.processInfo.environment["SHOAL_MEASURE"] != nil),
        arguments: Precision.allCases, [false, true])
    func oneRow(precision: Precision, withKeys: Bool) async throws {
        let keys = try TestKeys()
        let protection = withKeys ? try keys.worker().protection : .thisMachineOnly
        let shape = ModelShape(layers: 24, experts: 32, hiddenSize: 2880, intermediateSize: 2880)
        let model = ModelIdentity(shape: shape, digest: [1], bytesPerExpert: 1)
        let coordinator = try Coordinator(
            model: model, precision: precision, bind: Endpoint("tcp://127.0.0.1:0"),
            protection: withKeys ? keys.coordinator : .thisMachineOnly, localExperts: nil, timing: ClusterTiming(),
            log: .silent)
        let workers = try (0..<2).map { _ in
            try Worker(
                model: model, coordinators: [CoordinatorAddress(coordinator.endpoint, protection: protection)],
                threads: 1, memory: nil, name: "test",
                log: .silent,
                makeExperts: { NoExperts(ExpertRowFormat(precision: $0, hiddenSize: shape.hiddenSize)) })
        }
        for worker in workers { Thread { try? worker.run() }.start() }
        defer {
            for worker in workers { worker.stop() }
            coordinator.shutdown()
        }
        try await withDeadline { try await coordinator.waitUntilReady(workers: 2) }
        try measure(coordinator.executor, "\(precision)\(withKeys ? " with keys" : "")", precision, shape)
    }

    private func measure(
        _ experts: ClusterExperts, _ label: String, _ precision: Precision, _ shape: ModelShape
    ) throws {
        let batches = (0..<24).map { TestBatch(precision, shape: shape, layer: $0, seed: 3, rows: 1, topK: 4) }
        var times: [Duration] = []
        let steps = ProcessInfo.processInfo.environment["SHOAL_MEASURE"].flatMap { Int($0) } ?? 200
        for _ in 0..<steps {
            try experts.beginStep()
            for batch in batches {
                try batch.withBatch { batch in
                    let begin = ContinuousClock.now
                    try experts.run(batch)
                    times.append(begin.duration(to: .now))
                }
            }
        }
        times.sort()
        func microseconds(_ quantile: Double) -> Double {
            times[min(Int(Double(times.count) * quantile), times.count - 1)] / .microseconds(1)
        }
        print(
            "\(label): \(times.count) layers of one row, top-4, two workers: "
                + "median \(microseconds(0.5)) µs, p90 \(microseconds(0.9)) µs, p99 \(microseconds(0.99)) µs, "
                + "longest \(microseconds(1)) µs")
    }
}
