import Checkpoints
import Foundation
import Synchronization

/// The bytes of experts, where the mapped checkpoint has them.
extension Checkpoint {
    /// The pieces, tensor after tensor, that make up a range of an expert's bytes.
    func slices(of expert: ExpertID, _ range: Range<Int>) -> [UnsafeRawBufferPointer] {
        var begin = 0
        return slices(layer: expert.layer, expert: expert.expert).compactMap { slice in
            let part = range.clamped(to: begin..<begin + slice.count)
            defer { begin += slice.count }
            return part.isEmpty
                ? nil : UnsafeRawBufferPointer(rebasing: slice[part.lowerBound - begin..<part.upperBound - begin])
        }
    }

    private static let checksum = Atomic<UInt8>(0)

    /// Reads a byte of each page, so that whoever reads the bytes next waits for no disk.
    static func touch(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let offset = Int(bitPattern: start) % page
        madvise(UnsafeMutableRawPointer(mutating: start - offset), bytes.count + offset, MADV_WILLNEED)
        var sum: UInt8 = 0
        for position in stride(from: 0, to: bytes.count, by: page) { sum &+= bytes[position] }
        sum &+= bytes[bytes.count - 1]
        // Reads whose result went nowhere would be optimised away.
        checksum.wrappingAdd(sum, ordering: .relaxed)
    }
}
