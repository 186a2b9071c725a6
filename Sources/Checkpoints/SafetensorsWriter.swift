internal import Dispatch
internal import Foundation
internal import JSON
internal import Synchronization

/// Writes one safetensors file, tensor by tensor, all cores together.
final class SafetensorsWriter: Sendable {
    private let path: String
    private let descriptor: Int32
    private let config: ModelConfig
    private let starts: [TensorSlot: Int]

    /// Bytes that one core makes and writes at a time.
    private static let chunk = 4 << 20

    /// Creates the file, with the header in it.
    init(_ url: URL, slots: [TensorSlot], config: ModelConfig) throws {
        path = url.path
        self.config = config
        var members = [JSONObject.Member(name: "__metadata__", value: ["format": "pt"])]
        var offsets: [TensorSlot: Int] = [:]
        var size = 0
        for slot in slots {
            let end = size + slot.byteCount(config)
            let entry: JSONValue = [
                "dtype": .string(slot.role.elementType.rawValue),
                "shape": .array(slot.role.shape(config).map { JSONValue($0) }),
                "data_offsets": [JSONValue(size), JSONValue(end)],
            ]
            members.append(JSONObject.Member(name: slot.name, value: entry))
            offsets[slot] = size
            size = end
        }
        var header = Array(JSONValue.object(JSONObject(members)).serialized.utf8)
        // Data that begins at a cache line lets kernels load whole lines.
        header += Array(repeating: UInt8(ascii: " "), count: 64 - (8 + header.count) % 64)
        let dataStart = 8 + header.count
        starts = offsets.mapValues { dataStart + $0 }
        descriptor = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw CheckpointError("\(path): cannot create: \(systemError())") }
        let prefix = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header
        try prefix.withUnsafeBytes { try write($0, at: 0) }
    }

    deinit { close(descriptor) }

    /// Writes one tensor's bytes.
    func write(_ slot: TensorSlot, _ weights: RandomWeights, _ progress: @Sendable (Int) -> Void) throws {
        let size = slot.byteCount(config)
        let start = starts[slot, default: 0]
        let failure = Mutex<(any Error)?>(nil)
        DispatchQueue.concurrentPerform(iterations: (size + Self.chunk - 1) / Self.chunk) { index in
            guard failure.withLock({ $0 == nil }) else { return }
            let offset = index * Self.chunk
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: min(Self.chunk, size - offset), alignment: 4096)
            defer { buffer.deallocate() }
            weights.fill(buffer, from: offset)
            do {
                try write(UnsafeRawBufferPointer(buffer), at: start + offset)
                progress(buffer.count)
            } catch {
                failure.withLock { $0 = error }
            }
        }
        if let error = failure.withLock({ $0 }) { throw error }
    }

    /// Returns when everything is on the disk.
    func finish() throws {
        guard fsync(descriptor) == 0 else { throw CheckpointError("\(path): cannot write: \(systemError())") }
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(position + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw CheckpointError("\(path): cannot write at byte \(position + done): \(systemError())")
            }
            done += count
        }
    }
}

extension TensorSlot {
    /// Size of the tensor. Does not overflow, because the config's dimensions are bounded.
    func byteCount(_ config: ModelConfig) -> Int { role.shape(config).reduce(role.elementType.size, *) }
}

/// Adds up what several threads have done, and reports it one call at a time.
final class ProgressCounter: Sendable {
    private let done = Mutex(0)
    private let total: Int
    private let report: @Sendable (Int, Int) -> Void

    init(total: Int, report: @escaping @Sendable (Int, Int) -> Void) {
        self.total = total
        self.report = report
    }

    func add(_ count: Int) {
        done.withLock {
            $0 += count
            report($0, total)
        }
    }
}
