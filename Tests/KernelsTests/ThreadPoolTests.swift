import Foundation
import Kernels
import Synchronization
import TestSupport
import Testing

@Suite("The thread pool", .serialized)
struct ThreadPoolTests {
    /// Runs one loop; `body` is called from the pool's threads.
    private func run(_ pool: OpaquePointer, count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        final class Box: Sendable {
            let body: @Sendable (Int) -> Void
            init(_ body: @escaping @Sendable (Int) -> Void) { self.body = body }
        }
        let box = Box(body)
        withExtendedLifetime(box) {
            let work: @convention(c) (UnsafeMutableRawPointer?, Int) -> Void = { context, index in
                guard let context else { return }
                Unmanaged<Box>.fromOpaque(context).takeUnretainedValue().body(index)
            }
            shoal_thread_pool_run(pool, count, work, Unmanaged.passUnretained(box).toOpaque())
        }
    }

    private func withPool(threads: UInt32, _ body: (OpaquePointer) throws -> Void) throws {
        let pool = try #require(shoal_thread_pool_create(threads))
        defer { shoal_thread_pool_destroy(pool) }
        try body(pool)
    }

    /// One counter for each index.
    final class Counters: Sendable {
        let counts: [Atomic64]
        final class Atomic64: Sendable {
            let value = Atomic<Int>(0)
        }
        init(_ count: Int) { counts = (0..<count).map { _ in Atomic64() } }
        func hit(_ index: Int) { counts[index].value.add(1, ordering: .relaxed) }
        func all(_ expected: Int) -> Bool { counts.allSatisfy { $0.value.load(ordering: .relaxed) == expected } }
    }

    @Test("calls every index exactly once, loop after loop", arguments: 1...8)
    func everyIndexOnce(threads: Int) throws {
        try withPool(threads: UInt32(threads)) { pool in
            #expect(shoal_thread_pool_threads(pool) == UInt32(threads))
            for count in [0, 1, 2, 3, 7, 8, 9, 100] {
                let counters = Counters(count)
                for _ in 0..<200 { run(pool, count: count) { counters.hit($0) } }
                #expect(counters.all(200), "\(count) indices")
            }
        }
    }

    @Test("pinned threads compute each on one processor, and every index once")
    func pinned() async throws {
        // On a thread of its own, which may be bound.
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread {
                done.resume(
                    with: Result {
                        try withPool(threads: 3) { pool in
                            shoal_thread_pool_pin(pool)
                            let counters = Counters(100)
                            let unbound = Mutex(0)
                            for _ in 0..<50 {
                                run(pool, count: 100) {
                                    counters.hit($0)
                                    let status = try? String(
                                        contentsOfFile: "/proc/thread-self/status", encoding: .utf8)
                                    let line = status?.split(separator: "\n").first {
                                        $0.hasPrefix("Cpus_allowed_list:")
                                    }
                                    // Several processors are written 0-2 or 0,2.
                                    let isBound = line.map { !$0.contains("-") && !$0.contains(",") } ?? false
                                    if !isBound { unbound.withLock { $0 += 1 } }
                                }
                            }
                            #expect(counters.all(50))
                            #expect(unbound.withLock { $0 } == 0)
                        }
                    })
            }
        }
    }

    @Test("what a loop wrote is seen when it has returned, also after the threads went to sleep")
    func visibility() throws {
        try withPool(threads: 3) { pool in
            let sums = Counters(64)
            for round in 1...300 {
                run(pool, count: 64) { sums.hit($0) }
                #expect(sums.all(round))
                if round % 50 == 0 { usleep(2000) }  // long enough to park
            }
        }
    }

    @Test("pools come and go, used or not")
    func creation() throws {
        for round in 0..<200 {
            try withPool(threads: UInt32(1 + round % 5)) { pool in
                guard round % 3 != 0 else { return }
                let counters = Counters(5)
                run(pool, count: 5) { counters.hit($0) }
                #expect(counters.all(1))
            }
        }
        #expect(shoal_thread_pool_create(0) == nil)
    }

    @Test("a matrix product has the same bytes on 1 to 8 threads")
    func sameBytes() throws {
        var random = SeededGenerator(seed: 41)
        let (tokens, rows, columns) = (5, 300, 320)
        let w = MXFP4Matrix(rows: rows, columns: columns, anyScale: false, bias: true, &random)
        let x = Q8Rows(Values.ordinary.floats(tokens * columns, &random), rows: tokens, columns: columns)
        struct Product: @unchecked Sendable {  // the buffers outlive the loop, and indices write disjoint rows
            let w: shoal_mxfp4_matrix, x: shoal_q8_rows, y: UnsafeMutablePointer<Float>
        }
        let kernels = try #require(shoal_kernels_named(nil)).pointee
        let matmul = kernels.matmul_mxfp4_q8
        let expected = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
        var (matrix, activations) = (w.c, x.c)
        kernels.matmul_mxfp4_q8(&matrix, &activations, 0, rows, expected.start, rows)
        for threads in 1...8 {
            let found = GuardedBuffer<Float>(repeating: 0, count: tokens * rows)
            let product = Product(w: w.c, x: x.c, y: found.start)
            try withPool(threads: UInt32(threads)) { pool in
                run(pool, count: (rows + 31) / 32) { index in
                    var (matrix, activations) = (product.w, product.x)
                    matmul(&matrix, &activations, index * 32, min(rows, index * 32 + 32), product.y, rows)
                }
            }
            #expect(firstDifference(found, expected) == nil)
        }
        withExtendedLifetime((w, x)) {}
    }
}
