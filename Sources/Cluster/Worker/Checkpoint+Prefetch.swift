import Checkpoints
import Foundation
import Synchronization

extension Checkpoint {
    /// Reads the experts' pages into the page cache, where every process of this machine shares them.
    func prefetch(_ experts: ExpertSet, isWanted: () -> Bool) {
        for layer in 0..<config.layerCount {
            for expert in 0..<config.expertCount where experts.contains(layer: layer, expert: expert) {
                for slice in slices(layer: layer, expert: expert) {
                    guard isWanted() else { return }
                    Self.touch(slice)
                }
            }
        }
    }

    private static let checksum = Atomic<UInt8>(0)

    private static func touch(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let offset = Int(bitPattern: start) % page
        madvise(UnsafeMutableRawPointer(mutating: start - offset), bytes.count + offset, MADV_WILLNEED)
        var sum: UInt8 = 0
        for position in stride(from: 0, to: bytes.count, by: page) { sum &+= bytes[position] }
        // Reads whose result went nowhere would be optimised away.
        checksum.wrappingAdd(sum, ordering: .relaxed)
    }
}
