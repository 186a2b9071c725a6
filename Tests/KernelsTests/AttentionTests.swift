import Foundation
import Kernels
import TestSupport
import Testing

@Suite("Attention")
struct AttentionTests {
    /// A pool of pages in which one sequence's keys and values lie in any order, and the queries of one position.
    struct Case {
        static let formats = [SHOAL_KV_F32, SHOAL_KV_BF16, SHOAL_KV_Q8]
        let pool: GuardedBuffer<UInt8>, pages: GuardedBuffer<UInt32>
        let pageTokens: Int, dim: Int, group: Int, format: shoal_kv_format
        let queries: GuardedBuffer<Float>, sinks: GuardedBuffer<UInt16>
        let heads = 2, head = 1

        /// Blocks before the first of `visible` have no page; another layer's plane precedes the keys in every page.
        init(
            _ visible: ClosedRange<Int>, pageTokens: Int, dim: Int, group: Int, format: shoal_kv_format,
            _ values: Values, _ random: inout SeededGenerator
        ) {
            (self.pageTokens, self.dim, self.group, self.format) = (pageTokens, dim, group, format)
            let blocks = visible.upperBound / pageTokens + 1
            let held = visible.lowerBound / pageTokens..<blocks
            let order = (0..<UInt32(held.count)).shuffled(using: &random)
            pages = GuardedBuffer((0..<blocks).map { held.contains($0) ? order[$0 - held.lowerBound] : .max })
            pool = GuardedBuffer(
                (0..<held.count * 3 * heads * pageTokens).flatMap { _ in
                    Self.row(dim, format, values, &random)
                })
            queries = GuardedBuffer(values.floats(group * dim, &random))
            sinks = GuardedBuffer(values.bfloats(group, &random))
        }

        /// In int8 any values, those of the padding too, and scales that make them as large as `values` are.
        private static func row(
            _ dim: Int, _ format: shoal_kv_format, _ values: Values, _ random: inout SeededGenerator
        ) -> [UInt8] {
            switch format {
            case SHOAL_KV_F32: return values.floats(dim, &random).withUnsafeBytes(Array.init)
            case SHOAL_KV_BF16: return values.bfloats(dim, &random).withUnsafeBytes(Array.init)
            default:
                let blocks = (dim + 31) / 32
                let scales = values.floats(blocks, &random).map { UInt16(($0 / 127).bitPattern >> 16) }
                return bytes(blocks * 32, &random) + scales.withUnsafeBytes(Array.init)
            }
        }

        private var view: shoal_kv_pages {
            let plane = heads * pageTokens * shoal_kv_row_bytes(format, dim)
            return shoal_kv_pages(
                pool: UnsafeRawPointer(pool.start).assumingMemoryBound(to: CChar.self), pages: pages.start,
                page_bytes: 3 * plane, keys: plane, values: 2 * plane, page_tokens: pageTokens, head_dim: dim,
                format: format)
        }

        /// Everything that the kernel writes: numerators, denominators, output.
        func run(_ kernels: shoal_kernels, _ visible: ClosedRange<Int>, into out: UnsafeMutablePointer<Float>) {
            var kv = view
            kernels.attention(
                &kv, head, group, queries.start, sinks.start, 0.125, visible.lowerBound, visible.upperBound,
                out + group * dim + group, out + group * dim, out)
        }

        func resultCount(_ visible: ClosedRange<Int>) -> Int { group * dim + group + group * visible.count }

        func key(_ position: Int, _ d: Int) -> Double { element(view.keys, position, d) }
        func value(_ position: Int, _ d: Int) -> Double { element(view.values, position, d) }

        private func element(_ plane: Int, _ position: Int, _ d: Int) -> Double {
            let block = 3 * Int(pages.start[position / pageTokens]) * heads * pageTokens
            let row = block + (plane / (view.page_bytes / 3) * heads + head) * pageTokens + position % pageTokens
            let start = UnsafeRawPointer(pool.start) + row * shoal_kv_row_bytes(format, dim)
            switch format {
            case SHOAL_KV_F32: return Double(start.loadUnaligned(fromByteOffset: d * 4, as: Float.self))
            case SHOAL_KV_BF16:
                return Double(float(bfloat: start.loadUnaligned(fromByteOffset: d * 2, as: UInt16.self)))
            default:
                let scale = start.loadUnaligned(fromByteOffset: (dim + 31) / 32 * 32 + d / 32 * 2, as: UInt16.self)
                return Double(start.load(fromByteOffset: d, as: Int8.self)) * Double(float(bfloat: scale))
            }
        }
    }

    @Test("equals the scalar one bit for bit", arguments: Variant.vectorised)
    func equalsScalar(variant: Variant) {
        var random = SeededGenerator(seed: 21)
        for values in Values.allCases {
            for dim in [6, 16, 24, 32, 48, 64, 80, 112, 128, 136] {
                for format in Case.formats {
                    let first = Int.random(in: 0..<90, using: &random)
                    let visible = first...Int.random(in: first..<90, using: &random)
                    let attention = Case(
                        visible, pageTokens: [1, 5, 16, 32].randomElement(using: &random) ?? 16, dim: dim,
                        group: .random(in: 1...9, using: &random), format: format, values, &random)
                    let found = difference(variant, count: attention.resultCount(visible)) {
                        attention.run($0, visible, into: $1)
                    }
                    #expect(
                        found == nil, "\(values) \(format) dim \(dim) group \(attention.group) keys \(visible)")
                }
            }
        }
    }

    @Test("agrees with softmax attention in double precision", arguments: Variant.all)
    func agreesWithDouble(variant: Variant) {
        var random = SeededGenerator(seed: 22)
        for format in Case.formats {
            let visible = 37...199
            let attention = Case(visible, pageTokens: 16, dim: 64, group: 8, format: format, .ordinary, &random)
            let out = GuardedBuffer<Float>(repeating: 0, count: attention.resultCount(visible))
            attention.run(variant.kernels, visible, into: out.start)
            for h in 0..<attention.group {
                let scores = visible.map { position in
                    (0..<64).reduce(0.0) { sum, d in
                        sum + Double(attention.queries.start[h * 64 + d]) * attention.key(position, d)
                    } * 0.125
                }
                let sink = Double(float(bfloat: attention.sinks.start[h]))
                let denominator = scores.reduce(exp(sink)) { $0 + exp($1) }
                for d in 0..<64 {
                    let expected = zip(visible, scores).reduce(0.0) { sum, key in
                        sum + exp(key.1) / denominator * attention.value(key.0, d)
                    }
                    #expect(abs(Double(out.start[h * 64 + d]) - expected) < 2e-6)
                }
            }
        }
    }
}
