public import Foundation
public import JSON

/// Where the tests' data lies.
public enum Fixtures {
    /// The package's root folder.
    public static let packageRoot = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .deletingLastPathComponent()

    /// The fixtures: `SHOAL_FIXTURES`, or `Tests/Fixtures`.
    public static let root: URL =
        ProcessInfo.processInfo.environment["SHOAL_FIXTURES"].map { URL(fileURLWithPath: $0) }
        ?? packageRoot.appending(path: "Tests/Fixtures")

    /// Large data that stays out of the project (the o200k vocabulary, gpt-oss-20b's config): `SHOAL_DATA`, or
    /// `../shared/data`. Nil where it does not exist; tests that need it are then skipped.
    public static let data: URL? = {
        let folder =
            ProcessInfo.processInfo.environment["SHOAL_DATA"].map { URL(fileURLWithPath: $0) }
            ?? packageRoot.deletingLastPathComponent().appending(path: "shared/data")
        return FileManager.default.fileExists(atPath: folder.path) ? folder : nil
    }()

    /// Every folder under `models/`, by name.
    public static var models: [URL] {
        let folder = root.appending(path: "models")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.sorted().map { folder.appending(path: $0) }
            .filter { FileManager.default.fileExists(atPath: $0.appending(path: "config.json").path) }
    }

    /// The values of a JSON Lines file.
    public static func jsonLines(_ file: URL) throws -> [JSONValue] {
        try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")).map { try JSONValue(parsing: $0) }
    }

    /// One JSON file.
    public static func json(_ file: URL) throws -> JSONValue { try JSONValue(parsing: Data(contentsOf: file)) }
}

/// A small deterministic generator for tests: SplitMix64 (Steele, Lea, Flood 2014).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// The same seed gives the same numbers on every machine.
    public init(seed: UInt64) {
        state = seed
    }

    /// The next 64 random bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}
