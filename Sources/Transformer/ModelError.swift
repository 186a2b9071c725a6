public import Kernels

/// The model cannot be set up or run as asked.
public struct ModelError: Error, Sendable, CustomStringConvertible {
    /// What was found, what was expected, and the remedy.
    public let description: String

    /// An error with that message.
    public init(_ description: String) {
        self.description = description
    }
}

/// The inner loops of one instruction set.
public typealias Kernels = UnsafePointer<shoal_kernels>

/// The fastest kernels for this processor, or those that the environment variable `SHOAL_ISA` names.
/// - Throws: ``ModelError`` when `SHOAL_ISA` names none that can run here.
package func selectedKernels() throws(ModelError) -> Kernels {
    guard let kernels = shoal_kernels_selected() else {
        let known = (0..<UInt32(SHOAL_ISA_COUNT)).compactMap { shoal_kernels_for(shoal_isa($0)) }
            .map { String(cString: $0.pointee.name) }
        throw ModelError(
            "SHOAL_ISA names an instruction set that this processor lacks; expected one of "
                + known.joined(separator: ", ") + ", or no SHOAL_ISA at all")
    }
    return kernels
}
