internal import Foundation
internal import JSON

/// Reads a JSON file of at most `limit` bytes, which bounds the memory it can take.
func readJSON(_ url: URL, limit: Int = 16 << 20) throws -> JSONValue {
    try readJSONAndDigest(url, limit: limit).value
}

/// Reads a JSON file, and the SHA-256 of the very bytes that were read.
func readJSONAndDigest(_ url: URL, limit: Int = 16 << 20) throws -> (value: JSONValue, digest: [UInt8]) {
    let file = try MappedFile(url)
    guard file.bytes.count <= limit else {
        throw CheckpointError(file.name, found: "\(file.bytes.count) bytes", expected: "at most \(limit)")
    }
    var hash = SHA256()
    hash.update(file.bytes)
    do {
        return (try JSONValue(parsing: file.bytes), hash.finish())
    } catch let error as JSONError {
        throw CheckpointError("\(file.name): \(error)")
    }
}
