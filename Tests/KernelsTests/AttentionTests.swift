import Foundation
import Kernels
import TestSupport
import Testing

@Suite("Attention")
struct AttentionTests {
    /// Pages of keys and values, and the queries of one position.
    struct Case {
        let keys: [GuardedBuffer<UInt8>], values: [GuardedBuffer<UInt8>]
        let heads: Int, pageTokens: Int, dim: Int, group: Int, isBF16: Bool
        let queries: GuardedBuffer<Float>, sinks: GuardedBuffer<UInt16>

        init(
            length: Int, heads: Int, pageTokens: Int, dim: Int, group: Int, isBF16: Bool, _ values: Values,
            _ random: inout SeededGenerator
        ) {
            func pages() -> [GuardedBuffer<UInt8>] {
                (0..<(length + pageTokens - 1) / pageTokens).map { _ in
                    let count = heads * pageTokens * dim
                    return GuardedBuffer(
                        isBF16
                            ? values.bfloats(count, &random).withUnsafeBytes(Array.init)
                            : values.floats(count, &random).withUnsafeBytes(Array.init))
                }
            }
            (keys, self.values) = (pages(), pages())
            (self.heads, self.pageTokens, self.dim) = (heads, pageTokens, dim)
            (self.group, self.isBF16) = (group, isBF16)
            queries = GuardedBuffer(values.floats(group * dim, &random))
            sinks = GuardedBuffer(values.bfloats(group, &random))
        }

        /// Everything that the kernel writes: numerators, denominators, output.
        func run(
            _ kernels: shoal_kernels, head: Int, _ visible: ClosedRange<Int>, into out: UnsafeMutablePointer<Float>
        ) {
            let keyPages = keys.map { UnsafeRawPointer($0.start) }
            let valuePages = values.map { UnsafeRawPointer($0.start) }
            keyPages.withUnsafeBufferPointer { keyPages in
                valuePages.withUnsafeBufferPointer { valuePages in
                    guard let keyPages = keyPages.baseAddress, let valuePages = valuePages.baseAddress else { return }
                    var kv = shoal_kv_pages(
                        key_pages: keyPages, value_pages: valuePages, page_tokens: pageTokens, head_dim: dim,
                        is_bf16: isBF16 ? 1 : 0)
                    kernels.attention(
                        &kv, head, group, queries.start, sinks.start, 0.125, visible.lowerBound, visible.upperBound,
                        out + group * dim + group, out + group * dim, out)
                }
            }
        }

        func resultCount(_ visible: ClosedRange<Int>) -> Int { group * dim + group + group * visible.count }

        func element(_ pages: [GuardedBuffer<UInt8>], head: Int, position: Int, _ d: Int) -> Double {
            let index = (head * pageTokens + position % pageTokens) * dim + d
            let page = UnsafeRawPointer(pages[position / pageTokens].start)
            return isBF16
                ? Double(float(bfloat: page.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)))
                : Double(page.loadUnaligned(fromByteOffset: index * 4, as: Float.self))
        }
    }

    @Test("equals the scalar one bit for bit", arguments: Variant.vectorised)
    func equalsScalar(variant: Variant) {
        var random = SeededGenerator(seed: 21)
        for values in Values.allCases {
            for dim in [16, 24, 32, 64, 80, 112, 128, 136] {
                for isBF16 in [true, false] {
                    let length = Int.random(in: 1...90, using: &random)
                    let first = Int.random(in: 0..<length, using: &random)
                    let visible = first...Int.random(in: first..<length, using: &random)
                    let attention = Case(
                        length: length, heads: 2, pageTokens: [1, 5, 16].randomElement(using: &random) ?? 16, dim: dim,
                        group: .random(in: 1...9, using: &random), isBF16: isBF16, values, &random)
                    let found = difference(variant, count: attention.resultCount(visible)) {
                        attention.run($0, head: 1, visible, into: $1)
                    }
                    #expect(found == nil, "\(values) dim \(dim) group \(attention.group) keys \(visible)")
                }
            }
        }
    }

    @Test("agrees with softmax attention in double precision", arguments: Variant.all)
    func agreesWithDouble(variant: Variant) {
        var random = SeededGenerator(seed: 22)
        for isBF16 in [true, false] {
            let attention = Case(
                length: 200, heads: 2, pageTokens: 16, dim: 64, group: 8, isBF16: isBF16, .ordinary, &random)
            let visible = 37...199
            let out = GuardedBuffer<Float>(repeating: 0, count: attention.resultCount(visible))
            attention.run(variant.kernels, head: 1, visible, into: out.start)
            for h in 0..<attention.group {
                let scores = visible.map { position in
                    (0..<64).reduce(0.0) { sum, d in
                        let key = attention.element(attention.keys, head: 1, position: position, d)
                        return sum + Double(attention.queries.start[h * 64 + d]) * key
                    } * 0.125
                }
                let sink = Double(float(bfloat: attention.sinks.start[h]))
                let denominator = scores.reduce(exp(sink)) { $0 + exp($1) }
                for d in 0..<64 {
                    let expected = zip(visible, scores).reduce(0.0) { sum, key in
                        let value = attention.element(attention.values, head: 1, position: key.0, d)
                        return sum + exp(key.1) / denominator * value
                    }
                    #expect(abs(Double(out.start[h * 64 + d]) - expected) < 2e-6)
                }
            }
        }
    }
}
