import Checkpoints
import Kernels

/// The keys and values of one sequence in every layer, in pages of a fixed number of tokens, so that growing never
/// moves what is held. Not Sendable: it belongs to the thread that runs the forward pass.
public final class KVCache {
    static let pageTokens = 64

    /// Positions held, and so the position of the next token.
    public private(set) var count = 0

    private let keyValueHeads: Int
    private let headDimension: Int
    private let isBF16: Bool
    private let layerCount: Int
    /// [page][layer][key, value][keyValueHeads][pageTokens][headDimension]
    private var pages: [UnsafeMutableRawPointer] = []
    /// Where each layer's pages begin: [layer][key, value] → table of pages, as the kernel takes it.
    private var tables: [Scratch<UnsafeRawPointer>]

    init(config: ModelConfig, precision: Precision) {
        keyValueHeads = config.keyValueHeadCount
        headDimension = config.headDimension
        layerCount = config.layerCount
        isBF16 = precision == .int8
        tables = (0..<layerCount * 2).map { _ in Scratch() }
    }

    deinit { for page in pages { page.deallocate() } }

    /// Bytes of one layer's keys (or values) in one page.
    private var planeBytes: Int { keyValueHeads * Self.pageTokens * headDimension * (isBF16 ? 2 : 4) }

    /// Refuses dimensions, each of them within its bounds, that together make a page larger than any machine's memory.
    /// - Throws: ``ModelError``.
    static func check(_ config: ModelConfig) throws(ModelError) {
        let bytes = pageTokens * config.keyValueWidth * config.layerCount * 2 * 4
        guard bytes <= 1 << 32 else {
            throw ModelError(
                "config.json: \(config.layerCount) layers with \(config.keyValueHeadCount) key-value heads of "
                    + "\(config.headDimension) need \(bytes) bytes for the keys and values of \(pageTokens) tokens; "
                    + "expected at most \(1 << 32)")
        }
    }

    /// Makes room for `tokens` positions behind those that are held.
    func reserve(_ tokens: Int) {
        let needed = (count + tokens + Self.pageTokens - 1) / Self.pageTokens
        guard needed > pages.count else { return }
        while pages.count < needed {
            pages.append(.allocate(byteCount: planeBytes * layerCount * 2, alignment: 64))
        }
        for (plane, table) in tables.enumerated() {
            table.reserve(needed)
            for (index, page) in pages.enumerated() {
                table.base[index] = UnsafeRawPointer(page + plane * planeBytes)
            }
        }
    }

    /// Stores one position's key and value, [keyValueHeads][headDimension] each, in a place that `reserve` made.
    func store(
        layer: Int, position: Int, key: UnsafePointer<Float>, value: UnsafePointer<Float>, _ kernels: Kernels
    ) {
        let elementBytes = isBF16 ? 2 : 4
        for (plane, source) in [(layer * 2, key), (layer * 2 + 1, value)] {
            for head in 0..<keyValueHeads {
                let slot = (head * Self.pageTokens + position % Self.pageTokens) * headDimension * elementBytes
                let target = pages[position / Self.pageTokens] + plane * planeBytes + slot
                let row = source + head * headDimension
                if isBF16 {
                    kernels.pointee.f32_to_bf16(row, headDimension, target.assumingMemoryBound(to: UInt16.self))
                } else {
                    target.copyMemory(from: row, byteCount: headDimension * elementBytes)
                }
            }
        }
    }

    /// One layer's pages as the kernel takes them, valid until the cache grows.
    func view(layer: Int) -> shoal_kv_pages {
        shoal_kv_pages(
            key_pages: tables[layer * 2].base, value_pages: tables[layer * 2 + 1].base, page_tokens: Self.pageTokens,
            head_dim: headDimension, is_bf16: isBF16 ? 1 : 0)
    }

    /// Counts `tokens` stored positions as held.
    func advance(_ tokens: Int) { count += tokens }
}
