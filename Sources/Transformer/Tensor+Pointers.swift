import Checkpoints

extension Tensor {
    /// The first byte. A checked tensor is never empty.
    var bytePointer: UnsafePointer<UInt8> {
        guard let base = bytes.baseAddress else { preconditionFailure("tensor \(name) is empty") }
        return base.assumingMemoryBound(to: UInt8.self)
    }

    /// The first element of a bfloat16 tensor.
    var bf16Pointer: UnsafePointer<UInt16> { UnsafeRawPointer(bytePointer).assumingMemoryBound(to: UInt16.self) }
}
