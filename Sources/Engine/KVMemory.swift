import Foundation
import Transformer

/// The memory for keys and values, and how long a request it holds.
public struct KVMemory: Sendable {
    /// Bytes in all.
    public let bytes: Int
    /// Bytes of a page.
    public let pageBytes: Int
    /// The number of tokens that prompt and completion may have together.
    public let contextLength: Int
    let geometry: PageGeometry

    /// Pages beyond which their table would take memory that no request uses.
    private static let mostPages = 1 << 24

    var pageCount: Int { bytes / pageBytes }

    /// Tokens of one sequence that the memory holds; shorter sequences, of which each has its own window, are fewer.
    public var tokens: Int { min(geometry.tokens(inPages: pageCount), Int(Int32.max)) }

    /// Sizes the memory for a model that knows `maxPositions` positions.
    /// - Parameter spare: Bytes that the machine can spare; asked for only where the options do not say.
    /// - Throws: ``EngineError`` where the context asked for does not fit.
    init(
        _ options: EngineOptions, layout: KVLayout, maxPositions: Int, spare: () -> Int
    ) throws(EngineError) {
        let wanted = options.contextLength ?? maxPositions
        guard wanted <= maxPositions else {
            throw EngineError(
                .invalidRequest,
                "a context of \(wanted) tokens exceeds the \(maxPositions) positions that the model knows")
        }
        geometry = PageGeometry(
            pageTokens: KVLayout.pageTokens, hasFullLayers: layout.hasFullLayers, window: layout.window,
            chunkTokens: options.promptTokens)
        pageBytes = layout.pageBytes
        let useful = geometry.pages(forTokens: wanted).multipliedReportingOverflow(by: options.sequences)
        let asked =
            options.kvMemory.map { $0 / layout.pageBytes }
            ?? min(useful.overflow ? .max : useful.partialValue, max(spare(), 0) / layout.pageBytes)
        let pages = min(asked, Self.mostPages)
        let fitting = min(geometry.tokens(inPages: pages), wanted)
        guard fitting == options.contextLength ?? max(fitting, 1) else {
            let least = options.contextLength ?? 1
            throw EngineError(
                .invalidRequest,
                "\(Self.text(pages * pageBytes)) of memory for keys and values hold \(fitting) tokens; a context of "
                    + "\(least) needs \(Self.text(geometry.pages(forTokens: least) * pageBytes)): give them more memory "
                    + "(--kv-memory)" + (least > 1 ? ", or ask for a shorter context (--context)" : ""))
        }
        bytes = pages * pageBytes
        contextLength = fitting
    }

    /// A number of bytes for people, such as `3.2 GiB`.
    public static func text(_ bytes: Int) -> String {
        bytes < 1 << 20
            ? String(format: "%.1f KiB", Double(bytes) / 0x1p10)
            : bytes < 1 << 30
                ? String(format: "%.1f MiB", Double(bytes) / 0x1p20)
                : String(format: "%.1f GiB", Double(bytes) / 0x1p30)
    }
}

extension KVMemory {
    /// Bytes that this process may still take without pressing out `mapped` bytes of files, as much of which as there is
    /// room for is better kept in memory: what the machine or its control group has available, less these, but at least
    /// a quarter; and of that nine tenths.
    package static func spare(mapped: Int) -> Int {
        // Where nothing is known, a quarter of the machine is a guess that hurts nobody.
        guard let available = AvailableMemory.bytes else {
            return Int(clamping: ProcessInfo.processInfo.physicalMemory / 4)
        }
        return max(available - mapped, available / 4) / 10 * 9
    }
}
