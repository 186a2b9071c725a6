import Checkpoints
import Foundation
import Synchronization

extension Checkpoint {
    /// Reads the experts' pages into the page cache, where every process of this machine shares them.
    func prefetch(_ experts: ExpertSet, isWanted: () -> Bool) {
        for (index, layer) in layers.enumerated() {
            for expert in 0..<config.expertCount where experts.contains(layer: index, expert: expert) {
                for tensor in layer.experts.all {
                    guard isWanted() else { return }
                    let size = tensor.bytes.count / config.expertCount
                    Self.touch(UnsafeRawBufferPointer(rebasing: tensor.bytes[expert * size..<(expert + 1) * size]))
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
