internal import JSON

/// What a safetensors file says about its tensors, checked against the size of the file alone.
///
/// The format: eight bytes with the header's length, little-endian; the header, a JSON object; the tensors' bytes. As
/// the format's own library does, a file is refused unless its tensors cover the data exactly, without hole or overlap.
package struct SafetensorsHeader: Sendable {
    /// One tensor.
    package struct Entry: Sendable {
        package let name: String
        /// As the format names it: "BF16", "U8", …
        package let elementType: String
        package let shape: [Int]
        /// Where its bytes lie in the file.
        package let range: Range<Int>
    }

    /// By ascending position in the file.
    package let entries: [Entry]

    /// The format's own limit, in bytes.
    package static let maximumLength = 100_000_000

    /// Bits of an element of each type that the format knows.
    private static let bits = [
        "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
    ]

    /// Reads the header of a file whose first bytes (at least all of its header) are given.
    /// - Throws: ``CheckpointError`` naming file, tensor, found and expected.
    package init(parsing bytes: UnsafeRawBufferPointer, fileSize: Int, file: String) throws {
        guard bytes.count >= 8, fileSize >= 8 else {
            throw CheckpointError(file, found: "\(fileSize) bytes", expected: "at least the 8 of the header's length")
        }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length >= 2, length <= Self.maximumLength else {
            throw CheckpointError(
                file, found: "a header length of \(length) bytes",
                expected: "2 to \(Self.maximumLength): is it safetensors?")
        }
        let dataStart = 8 + Int(length)
        guard dataStart <= fileSize, dataStart <= bytes.count else {
            throw CheckpointError(
                file, found: "\(fileSize) bytes",
                expected: "at least \(dataStart), the length of the header: the file is truncated, fetch it again")
        }
        let header: JSONValue
        do {
            header = try JSONValue(parsing: UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart]))
        } catch let error as JSONError {
            throw CheckpointError("\(file): header: \(error)")
        }
        guard let members = header.object?.members else {
            throw CheckpointError(file, found: "\(header.kind) as header", expected: "an object")
        }
        var entries: [Entry] = []
        for member in members {
            if member.name == "__metadata__" {
                guard let object = member.value.object, object.members.allSatisfy({ $0.value.string != nil }) else {
                    throw CheckpointError(
                        file, found: "__metadata__ that is not text", expected: "an object of strings")
                }
            } else {
                entries.append(try Self.entry(member, file: file, dataStart: dataStart, fileSize: fileSize))
            }
        }
        entries.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
        try Self.checkCover(entries, file: file, dataStart: dataStart, fileSize: fileSize)
        self.entries = entries
    }

    private static func entry(
        _ member: JSONObject.Member, file: String, dataStart: Int, fileSize: Int
    ) throws -> Entry {
        func refusal(_ found: String, expected: String) -> CheckpointError {
            CheckpointError(file, tensor: member.name, found: found, expected: expected)
        }
        guard let type = member.value["dtype"]?.string, let bits = bits[type] else {
            throw refusal("dtype \(shown(member.value["dtype"]))", expected: "a dtype of the safetensors format")
        }
        let shape = member.value["shape"]?.array?.map { $0.integer.flatMap { $0 >= 0 ? $0 : nil } }
        guard let shape = shape as? [Int] else {
            throw refusal("shape \(shown(member.value["shape"]))", expected: "an array of whole numbers")
        }
        guard let offsets = member.value["data_offsets"]?.array, offsets.count == 2,
            let begin = offsets[0].integer, let end = offsets[1].integer, 0 <= begin, begin <= end
        else {
            throw refusal(
                "data_offsets \(shown(member.value["data_offsets"]))", expected: "two whole numbers, begin <= end")
        }
        guard end <= fileSize - dataStart else {
            throw refusal(
                "data up to byte \(end)",
                expected: "at most \(fileSize - dataStart), the file's data: the file may be truncated, fetch it again")
        }
        var size: Int? = bits
        for dimension in shape {
            size = size.flatMap { product in
                let (result, overflow) = product.multipliedReportingOverflow(by: dimension)
                return overflow ? nil : result
            }
        }
        guard let size, size.isMultiple(of: 8), size / 8 == end - begin else {
            let expected = size.map { "\($0 / 8)" } ?? "more than memory can address"
            throw refusal("\(end - begin) bytes", expected: "\(expected), for \(type) of shape \(shown(shape))")
        }
        return Entry(name: member.name, elementType: type, shape: shape, range: dataStart + begin..<dataStart + end)
    }

    private static func checkCover(_ entries: [Entry], file: String, dataStart: Int, fileSize: Int) throws {
        var end = dataStart
        for entry in entries {
            guard entry.range.lowerBound == end else {
                throw CheckpointError(
                    file, tensor: entry.name, found: "data from byte \(entry.range.lowerBound - dataStart)",
                    expected: "from \(end - dataStart), where the tensor before it ends: no hole and no overlap")
            }
            end = entry.range.upperBound
        }
        guard end == fileSize else {
            throw CheckpointError(
                file, found: "\(fileSize - end) bytes behind the last tensor", expected: "none")
        }
    }
}

/// A shape as it may stand in a message.
func shown(_ shape: [Int]) -> String {
    shape.count <= 8 ? "\(shape)" : "\(shape.prefix(8))".dropLast() + ", …] of \(shape.count) dimensions"
}
