import Checkpoints
import Foundation
import TestSupport
import Testing

@Suite("The fixture models")
struct FixtureModelTests {
    @Test("open, and are sound", arguments: Fixtures.models)
    func opens(directory: URL) throws {
        let checkpoint = try Checkpoint(directory: directory)
        #expect(checkpoint.layers.count == checkpoint.config.layerCount)
        #expect(checkpoint.embedding.shape == [checkpoint.config.vocabularySize, checkpoint.config.hiddenSize])
        #expect(!checkpoint.config.endOfSequenceTokens.isEmpty)
    }
}
