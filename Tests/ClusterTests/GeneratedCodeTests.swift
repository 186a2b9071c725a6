import Foundation
import TestSupport
import Testing

@Suite struct GeneratedCodeTests {
    @Test("Sources/ClusterProtocol is what proto/generate makes of proto/cluster.proto")
    func isUpToDate() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "proto-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let process = Process()
        process.executableURL = Fixtures.packageRoot.appending(path: "proto/generate")
        process.arguments = [folder.path]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        for name in ["cluster.pb-c.c", "include/cluster.pb-c.h"] {
            let generated = try Data(contentsOf: folder.appending(path: name))
            let kept = try Data(contentsOf: Fixtures.packageRoot.appending(path: "Sources/ClusterProtocol/\(name)"))
            #expect(generated == kept, "\(name) is out of date: run proto/generate")
        }
    }
}
