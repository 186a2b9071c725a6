import Checkpoints
import Foundation
import JSON

/// A folder that is removed with its contents when the last reference to it goes.
final class TemporaryFolder {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "shoal-checkpoints-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    /// A copy of another folder's files.
    convenience init(copyOf source: URL) throws {
        try self.init()
        for name in try FileManager.default.contentsOfDirectory(atPath: source.path) {
            try FileManager.default.copyItem(at: source.appending(path: name), to: url.appending(path: name))
        }
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func data(_ name: String) throws -> Data { try Data(contentsOf: url.appending(path: name)) }
    func write(_ data: Data, to name: String) throws { try data.write(to: url.appending(path: name)) }
    func json(_ name: String) throws -> JSONValue { try JSONValue(parsing: data(name)) }
    func write(_ value: JSONValue, to name: String) throws { try write(Data(value.serialized.utf8), to: name) }

    /// Changes members of a JSON object in a file; nil removes one.
    func change(_ name: String, _ changes: [String: JSONValue?]) throws {
        var object = try json(name).object ?? JSONObject()
        for (member, value) in changes { object[member] = value }
        try write(.object(object), to: name)
    }
}

/// A safetensors file: a header, and so many bytes of data.
func safetensors(_ header: String, data: Int) -> Data {
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) } + Data(header.utf8) + Data(count: data)
}

/// A copy of a tensor's bytes.
func contents(_ tensor: Tensor) -> [UInt8] {
    withExtendedLifetime(tensor) { Array(tensor.bytes) }
}

extension DigestCache {
    /// A cache that cannot be written, so that tests leave nothing in the user's.
    static let none = DigestCache(environment: ["SHOAL_CACHE": "/proc/none"])
}
