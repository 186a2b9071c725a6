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
        static let heads = 2
        let head = 1

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
                (0..<held.count).flatMap { _ in
                    // Another layer's plane, the keys, the values.
                    [false, true, false].flatMap { isTurned in
                        (0..<Self.heads).flatMap { _ in
                            Self.head(pageTokens, dim, format, isTurned: isTurned, values, &random)
                        }
                    }
                })
            queries = GuardedBuffer(values.floats(group * dim, &random))
            sinks = GuardedBuffer(values.bfloats(group, &random))
        }

        /// One head's rows in a page. In int8 any values, those of the padding too, and scales that make them as large as
        /// `values` are: after each row, or, where rows are turned over, after all.
        private static func head(
            _ tokens: Int, _ dim: Int, _ format: shoal_kv_format, isTurned: Bool, _ values: Values,
            _ random: inout SeededGenerator
        ) -> [UInt8] {
            switch format {
            case SHOAL_KV_F32: return values.floats(tokens * dim, &random).withUnsafeBytes(Array.init)
            case SHOAL_KV_BF16: return values.bfloats(tokens * dim, &random).withUnsafeBytes(Array.init)
            default:
                let rows = isTurned ? 1 : tokens
                let blocks = (dim + 31) / 32 * (tokens / rows)
                return (0..<rows).flatMap { _ in
                    let scales = values.floats(blocks, &random).map { UInt16(($0 / 127).bitPattern >> 16) }
                    return bytes(blocks * 32, &random) + scales.withUnsafeBytes(Array.init)
                }
            }
        }

        private var view: shoal_kv_pages {
            let plane = Self.heads * pageTokens * shoal_kv_row_bytes(format, dim)
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

        /// The key, read as documented: turned over within its page.
        func key(_ position: Int, _ d: Int) -> Double {
            let slot = position % pageTokens
            return element(
                head(view.keys, position), d * pageTokens + slot,
                scale: (dim + 31) / 32 * 32 * pageTokens + (d / 32 * pageTokens + slot) * 2)
        }

        func value(_ position: Int, _ d: Int) -> Double {
            let row = head(view.values, position) + position % pageTokens * shoal_kv_row_bytes(format, dim)
            return element(row, d, scale: (dim + 31) / 32 * 32 + d / 32 * 2)
        }

        private func head(_ plane: Int, _ position: Int) -> UnsafeRawPointer {
            let page = Int(pages.start[position / pageTokens]) * view.page_bytes
            return UnsafeRawPointer(pool.start) + page + plane + head * pageTokens * shoal_kv_row_bytes(format, dim)
        }

        /// Element `index` of those at `start`; `scale`: where an int8 element's scale lies.
        private func element(_ start: UnsafeRawPointer, _ index: Int, scale: Int) -> Double {
            switch format {
            case SHOAL_KV_F32: return Double(start.loadUnaligned(fromByteOffset: index * 4, as: Float.self))
            case SHOAL_KV_BF16:
                return Double(float(bfloat: start.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)))
            default:
                let scale = float(bfloat: start.loadUnaligned(fromByteOffset: scale, as: UInt16.self))
                return Double(start.load(fromByteOffset: index, as: Int8.self)) * Double(scale)
            }
        }
    }

    @Test("equals the scalar one bit for bit", arguments: Variant.vectorised)
    func equalsScalar(variant: Variant) {
        var random = SeededGenerator(seed: 21)
        for values in Values.allCases {
            for dim in [6, 16, 24, 32, 48, 64, 80, 112, 128, 136] {
                for format in Case.formats {
                    // Positions and heads of one are more than what is worked on at once.
                    let isLarge = dim == 80
                    let first = Int.random(in: 0..<90, using: &random)
                    let visible = first...(isLarge ? 700 : Int.random(in: first..<90, using: &random))
                    let attention = Case(
                        visible, pageTokens: [16, 32, 48].randomElement(using: &random) ?? 16, dim: dim,
                        group: isLarge ? 9 : .random(in: 1...9, using: &random), format: format, values, &random)
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
            let visible = 37...799
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
