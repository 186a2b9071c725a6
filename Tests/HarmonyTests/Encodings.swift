import Foundation
import Harmony
import JSON
import TestSupport
import Tokenization

/// The vocabularies that the tests run with.
enum Encodings {
    /// o200k_harmony, whose ids the Harmony fixtures record; nil where its large file is not at hand.
    static let o200k: HarmonyEncoding? = {
        guard let archive = Fixtures.data?.appending(path: "o200k_harmony_tokenizer.json.gz"),
            let json = try? unpacked(archive)
        else { return nil }
        return try? HarmonyEncoding(tokenizer: Tokenizer(json: json))
    }()

    /// The small vocabularies of the fixture models; each has the format's special tokens under ids of its own.
    static let small: [HarmonyEncoding] = Fixtures.models.compactMap {
        try? HarmonyEncoding(tokenizer: Tokenizer(contentsOf: $0.appending(path: "tokenizer.json")))
    }

    private static func unpacked(_ archive: URL) throws -> Data {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["gzip", "-dc", archive.path]
        process.standardOutput = output
        try process.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return data
    }
}

extension HarmonyEncoding {
    /// Tokens of a text in which special tokens are written out.
    func tokens(_ text: String) -> [Int32] { tokenizer.encode(text, specialTokens: .all) }

    /// The token of one byte.
    func token(ofByte byte: UInt8) -> Int32? {
        (0..<Int32(tokenizer.idCount)).first { tokenizer.bytes(of: $0) == [byte] }
    }
}
