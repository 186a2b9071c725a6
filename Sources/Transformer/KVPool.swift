import Foundation

/// The memory of the keys and values of all sequences, in pages. Not Sendable: it belongs to the thread that runs the
/// forward pass. It is reserved as a whole, but a page takes no memory until it, or one beside it within 2 MiB, is first
/// written.
public final class KVPool {
    /// What a page holds.
    public let layout: KVLayout
    /// Pages are numbered from 0 up to this.
    public let pageCount: Int
    /// Page 0.
    package let base: UnsafeMutableRawPointer

    init(layout: KVLayout, pageCount: Int) throws(ModelError) {
        let (bytes, overflow) = layout.pageBytes.multipliedReportingOverflow(by: pageCount)
        guard pageCount > 0, pageCount < Int(KVPages.none), !overflow else {
            throw ModelError(
                "cannot have \(pageCount) pages of \(layout.pageBytes) bytes for keys and values; expected at least one, "
                    + "and fewer than \(KVPages.none)")
        }
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let base = mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED else {
            throw ModelError(
                "cannot reserve \(bytes) bytes of address space for \(pageCount) pages of keys and values: "
                    + String(cString: strerror(errno)) + "; ask for less, or raise the limit (ulimit -v)")
        }
        // A head's keys in a page are a few KiB, and far from those in the next: with small pages of the system each would
        // have to be looked up anew. Without large ones it works as well, only slower.
        madvise(base, bytes, MADV_HUGEPAGE)
        self.layout = layout
        self.pageCount = pageCount
        self.base = base
    }

    deinit { munmap(base, layout.pageBytes * pageCount) }
}

extension Transformer {
    /// How keys and values are held where nothing else is asked for: as computed in exact precision, otherwise in bf16.
    public var defaultKVFormat: KVFormat { precision == .exact ? .float32 : .bf16 }

    /// What a page of this model's keys and values holds.
    public func kvLayout(format: KVFormat? = nil) -> KVLayout {
        KVLayout(config: config, format: format ?? defaultKVFormat)
    }

    /// An empty pool for sequences of this model.
    /// - Throws: ``ModelError`` where the address space cannot be had.
    public func makePool(pageCount: Int, format: KVFormat? = nil) throws(ModelError) -> KVPool {
        try KVPool(layout: kvLayout(format: format), pageCount: pageCount)
    }
}
