/// The element types that gpt-oss checkpoints use.
public enum ElementType: String, Sendable {
    /// bfloat16, little-endian.
    case bf16 = "BF16"
    /// Bytes: MXFP4 blocks and scales.
    case u8 = "U8"

    /// Bytes of one element, and its alignment.
    public var size: Int { self == .bf16 ? 2 : 1 }
}

/// A tensor's bytes in the memory map, which it keeps alive. Row-major, little-endian, aligned for its elements.
public struct Tensor: @unchecked Sendable {  // The memory is never written.
    /// Its name in the checkpoint.
    public let name: String
    /// The type of its elements.
    public let elementType: ElementType
    /// Its dimensions, the slowest first.
    public let shape: [Int]
    /// Its elements. Valid while this tensor, another of the same file or the checkpoint exists: Swift may end a local
    /// variable's life after its last mention, so keep one of them in a property or use `withExtendedLifetime`.
    public let bytes: UnsafeRawBufferPointer
    private let file: MappedFile

    init(name: String, elementType: ElementType, shape: [Int], range: Range<Int>, of file: MappedFile) {
        self.name = name
        self.elementType = elementType
        self.shape = shape
        self.file = file
        bytes = UnsafeRawBufferPointer(rebasing: file.bytes[range])
    }
}
