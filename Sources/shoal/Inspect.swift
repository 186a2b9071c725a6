import Checkpoints
import Foundation
import JSON

enum Inspect: Command {
    static let name = "inspect"
    static let summary = "Show what a checkpoint holds, and whether it is sound."
    static let operands = ["DIR"]
    static let discussion = """
        Prints architecture, tensors, sizes, element types and the SHA-256 of every file of the checkpoint in DIR (the
        Hugging Face layout), and says whether it is sound or what is wrong. Exit code 1 where it is not sound.
        """
    static let flags = [Flag("json", nil, "The same as one JSON object.")]

    static func run(_ arguments: Arguments) async throws {
        guard let directory = arguments.operands.first else { throw UsageError("DIR is missing") }
        let progress = Progress("reading")
        let inspection = Inspection(directory: URL(fileURLWithPath: directory)) { done, total in
            progress.show(Double(done) / Double(max(1, total)))
        }
        try printOutput(arguments.has("json") ? inspection.json.prettySerialized : inspection.text)
        if !FileManager.default.fileExists(atPath: directory + "/tokenizer.json") {
            printError("note: there is no tokenizer.json, which serving needs")
        }
        if !inspection.isSound { throw Failure("\(directory) is not sound") }
    }
}
