import Cluster
import Foundation
import TestSupport
import Testing
import Transformer

/// Results are looked at before they are used.
@Suite(.serialized) struct VerificationTests {
    private let width = ExpertRowFormat(precision: .exact, hiddenSize: FakeModel.shape.hiddenSize).outputBytes

    /// A worker that answers everything with rows of one byte.
    private func serve(_ worker: RawWorker, _ count: Int, _ byte: UInt8) {
        worker.serve(count) { [width] worker, request in
            let header = DataMessage.response(
                epoch: request.epoch, sequence: request.sequence, assignments: request.assignments)
            try worker.data.send([header.bytes, [UInt8](repeating: byte, count: request.assignments * width)])
        }
    }

    private func dropped(_ cause: DropCause, _ cluster: TestCluster) -> Int {
        cluster.coordinator.status.dropped[cause.rawValue] ?? 0
    }

    @Test("NaN is refused, and its rows are computed elsewhere")
    func notANumber() async throws {
        let cluster = try TestCluster(.exact)
        let worker = try RawWorker(joining: cluster.coordinator.endpoint)
        try await cluster.ready(workers: 1)
        serve(worker, FakeModel.shape.layers, 0xFF)
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1))
        #expect(dropped(.nonFiniteResult, cluster) == FakeModel.shape.layers)
        #expect(cluster.log.all.count { $0.contains("cause=nonFiniteResult") } == 1)
        #expect(cluster.coordinator.status.workers.first?.failures == FakeModel.shape.layers)
    }

    @Test("a worker whose rows are wrong is sent away for good, and none of its rows is used", arguments: [1, 1e-6])
    func wrong(rate: Double) async throws {
        let cluster = try TestCluster(.exact, options: DispatchOptions(hedging: .never, verifyRate: rate))
        let worker = try RawWorker(joining: cluster.coordinator.endpoint)
        try await cluster.ready(workers: 1)
        serve(worker, 1, 7)
        #expect(try cluster.compute(seed: 1) == cluster.expected(seed: 1), "its first rows are always verified")
        try await eventually("it is sent away") { cluster.coordinator.status.workers.isEmpty }
        #expect(dropped(.wrongResult, cluster) == 1)
        let lines = cluster.log.all.filter { $0.contains("worker was sent away") }
        #expect(lines.count == 1 && lines[0].contains("of layer 0") && lines[0].contains("revoke its key"))
        let message = try worker.nextWord()
        guard case .refuse(let refusal) = message else { return #expect(Bool(false), "\(message as Any)") }
        #expect(refusal.reason.contains("is not what this coordinator computes"))
    }

    @Test("rows of workers that are right pass", arguments: Precision.allCases)
    func right(precision: Precision) async throws {
        let cluster = try TestCluster(
            precision, workers: 2, options: DispatchOptions(hedging: .never, verifyRate: 0.5))
        try await cluster.ready(workers: 2)
        for seed in 0..<20 as Range<UInt64> { #expect(try cluster.compute(seed: seed) == cluster.expected(seed: seed)) }
        let status = cluster.coordinator.status
        #expect(status.dropped == [:] && status.workers.allSatisfy { $0.failures == 0 && $0.batches > 0 })
    }

    @Test("the part of all experts in answers is drawn that was asked for", arguments: [0, 0.001, 0.2, 1])
    func rate(_ rate: Double) {
        let sampler = RowSampler(rate: rate, seed: 7)
        let drawn = (1...20_000 as ClosedRange<UInt64>).map { sequence in
            (0..<32 as Range<Int32>).count { sampler.draws($0, in: sequence) }
        }
        let part = Double(drawn.reduce(0, +)) / 640_000
        #expect(abs(part - rate) < 5 * (rate * (1 - rate) / 640_000).squareRoot() + 1e-9)
        let isMixed = drawn.contains { $0 > 0 && $0 < 32 }
        #expect(isMixed == (rate > 0 && rate < 1), "not whole answers, but experts of them")
    }

    @Test("of a new worker's first rows eight are verified, in however many parts they come", arguments: [1, 3, 20])
    func firstRows(rowsPerPart: Int) throws {
        let (worker, shape, count) = (WorkerID(), FakeModel.shape, 20)
        let placement = Placement(
            epoch: 1, shape: shape, candidates: [Placement.Candidate(id: worker, capacity: .max, weight: 1)],
            previous: Placement(epoch: 0, shape: shape))
        var dispatcher = Dispatcher(
            Routes(placement, links: [WorkerLink(id: worker)]), timing: TestCluster.timing, hasLocalExperts: true,
            options: DispatchOptions(hedging: .never, verifyRate: 1e-12), seed: 1)
        let assignments = UnsafeMutableBufferPointer<ExpertAssignment>.allocate(capacity: count)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
        defer {
            assignments.deallocate()
            memory.deallocate()
        }
        _ = assignments.initialize(
            from: (0..<Int32(count)).map { ExpertAssignment(row: $0, expert: $0 % Int32(shape.experts), slot: $0) })
        try dispatcher.begin(
            ExpertBatch(
                layer: 0, rowCount: count, values: memory, scales: memory,
                assignments: UnsafeBufferPointer(assignments), outputs: memory),
            at: .now)
        let share = try #require(dispatcher.shareToSend(at: .now))
        dispatcher.sent(share, bytes: 0, at: .now)
        var verified: [Int] = []
        for first in stride(from: 0, to: count, by: rowsPerPart) {
            let part = try #require(dispatcher.shares[share].part(first: first, count: min(rowsPerPart, count - first)))
            dispatcher.forEachToVerify(of: share, part) { position, _ in verified.append(first + position) }
            dispatcher.answered(share, part, bytes: 0, at: .now)
        }
        #expect(verified == Array(0..<8))
    }

    @Test("a coordinator that has nothing to compare with says so")
    func withoutLocalExperts() throws {
        func log(_ options: DispatchOptions) throws -> LogRecorder {
            try TestCluster(.int8, localExperts: false, options: options).log
        }
        #expect(try log(DispatchOptions()).contains("not verified"))
        #expect(try !log(DispatchOptions(verifyRate: 0)).contains("not verified"))
    }

    @Test("NaN and infinity are found wherever they are, and nothing else is", arguments: Precision.allCases)
    func finite(precision: Precision) {
        let check = FiniteCheck(precision)
        let size = precision == .exact ? 4 : 2
        /// Any element, from its bits as a float32.
        func bytes(_ bits: UInt32) -> [UInt8] { withUnsafeBytes(of: bits.littleEndian) { Array($0.suffix(size)) } }
        var random = SeededGenerator(seed: 1)
        for count in [1, 3, 4, 7, 80] {
            let finite = (0..<count).flatMap { _ in
                let value = Float(bitPattern: .random(in: .min ... .max, using: &random))
                return bytes(value.isFinite ? value.bitPattern : (-Float.greatestFiniteMagnitude).bitPattern)
            }
            #expect(finite.withUnsafeBytes(check.passes))
            for index in 0..<count {
                for value in [Float.infinity, -.infinity, .nan, -.nan] {
                    var wrong = finite
                    wrong.replaceSubrange(index * size..<(index + 1) * size, with: bytes(value.bitPattern))
                    #expect(!wrong.withUnsafeBytes(check.passes), "\(value) at \(index) of \(count)")
                    // At an odd address.
                    #expect(!([0] + wrong).withUnsafeBytes { check.passes(.init(rebasing: $0.dropFirst())) })
                }
            }
        }
    }

    @Test(
        "cost of looking for NaN", .enabled(if: ProcessInfo.processInfo.environment["SHOAL_MEASURE"] != nil),
        arguments: [Precision.int8, .exact])
    func cost(precision: Precision) {
        let format = ExpertRowFormat(precision: precision, hiddenSize: 2880)
        let rows = [UInt8](repeating: 1, count: 8 * format.outputBytes)
        let begin = ContinuousClock.now
        var passed = 0
        for _ in 0..<10_000 where rows.withUnsafeBytes(FiniteCheck(precision).passes) { passed += 1 }
        #expect(passed == 10_000)
        print("\(precision): \(begin.duration(to: .now) / .microseconds(80_000)) µs for a row of 2880")
    }
}
