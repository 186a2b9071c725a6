import Checkpoints
import Foundation
import JSON
import TestSupport
import Testing

@Suite("An inspection")
struct InspectionTests {
    @Test(
        "of a fixture model says sound, and gives every tensor and the digest of every file", arguments: Fixtures.models
    )
    func sound(directory: URL) throws {
        var last = (0, 0)
        let inspection = Inspection(directory: directory, cache: .none) { last = ($0, $1) }
        #expect(inspection.problems == [])
        #expect(inspection.text.hasSuffix("\nsound\n"))
        #expect(inspection.tensors.allSatisfy { $0.isUsed })
        #expect(last.0 == last.1)
        for file in inspection.files {
            var hash = SHA256()
            try Data(contentsOf: directory.appending(path: file.name)).withUnsafeBytes { hash.update($0) }
            let digest = hexadecimal(hash.finish())
            #expect(file.sha256 == digest)
        }
        let json = inspection.json
        #expect(json["sound"]?.bool == true)
        #expect(json["tensors"]?.array?.count == inspection.tensors.count)
        #expect(try JSONValue(parsing: json.prettySerialized) == json)
    }

    @Test("of a spoiled checkpoint lists every fault")
    func unsound() throws {
        let folder = try TemporaryFolder(copyOf: #require(Fixtures.models.first))
        try folder.change("config.json", ["num_local_experts": 3, "num_experts_per_tok": 3])
        let inspection = Inspection(directory: folder.url, cache: .none)
        #expect(inspection.problems.count > 3)
        #expect(!inspection.isSound)
        #expect(inspection.text.contains("NOT SOUND"))
        #expect(inspection.problems.allSatisfy { inspection.text.contains($0) })
    }

    @Test("of an empty folder says what is missing")
    func empty() throws {
        let folder = try TemporaryFolder()
        let inspection = Inspection(directory: folder.url, cache: .none)
        #expect(inspection.problems.count == 2)
        #expect(inspection.problems.allSatisfy { $0.contains("No such file or directory") })
        #expect(inspection.json["config"]?.isNull == true)
    }
}
