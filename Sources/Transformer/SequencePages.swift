import Kernels

/// One segment's pages, as the kernels read and write them during a forward pass.
struct SequencePages {
    let memory: UnsafeMutableRawPointer
    let layout: KVLayout
    /// The tables of the full and of the sliding layers.
    let full, sliding: UnsafePointer<UInt32>

    /// The keys and values of a layer that is number `index` among those of its kind.
    func view(index: Int, isSliding: Bool) -> shoal_kv_pages {
        let keys = index * 2 * layout.planeBytes
        return shoal_kv_pages(
            pool: memory.assumingMemoryBound(to: CChar.self), pages: isSliding ? sliding : full,
            page_bytes: layout.pageBytes, keys: keys, values: keys + layout.planeBytes,
            page_tokens: KVLayout.pageTokens, head_dim: layout.headDimension, format: layout.format.inKernels)
    }

    /// Stores one position's key and value, [keyValueHeads][headDimension] each, in a layer.
    func store(key: UnsafePointer<Float>, value: UnsafePointer<Float>, position: Int, in layer: shoal_kv_pages) {
        var layer = layer
        for head in 0..<layout.keyValueHeads {
            let first = head * layout.headDimension
            shoal_kv_store(
                &layer, memory.assumingMemoryBound(to: CChar.self), head, position, key + first, value + first)
        }
    }
}

/// One token on its way through the layers.
struct Row {
    let pages: SequencePages
    let position: Int
    let wantsLogits: Bool
}

extension Transformer {
    /// The rows of a step. They are valid as long as the segments are, and until the next call: the page tables lie here.
    func rows(of segments: [Segment]) -> [Row] {
        pageTables.reserve(segments.reduce(0) { $0 + $1.pages.full.count + $1.pages.sliding.count })
        var end = pageTables.base
        func copy(_ table: [UInt32]) -> UnsafePointer<UInt32> {
            defer { end += table.count }
            end.update(from: table, count: table.count)
            return UnsafePointer(end)
        }
        return segments.flatMap { segment in
            let pages = SequencePages(
                memory: segment.pool.base, layout: segment.pool.layout, full: copy(segment.pages.full),
                sliding: copy(segment.pages.sliding))
            let firstWanted =
                switch segment.logits {
                case .none: segment.tokens.count
                case .last: segment.tokens.count - 1
                case .all: 0
                }
            return segment.tokens.indices.map {
                Row(pages: pages, position: segment.position + $0, wantsLogits: $0 >= firstWanted)
            }
        }
    }
}
