public import Foundation
internal import JSON

extension Synthesis {
    /// Writes the checkpoint in the Hugging Face layout. Streaming: holds a few megabytes, whatever the size.
    ///
    /// `config.json` comes last, when all else is on the disk, so that a folder cut short is never taken for a
    /// checkpoint; writing into it again starts over.
    /// - Parameters:
    ///   - directory: created where it does not exist, otherwise empty or left by a synthesis that was cut short.
    ///   - progress: called with bytes done and in total, from any thread, one call at a time.
    /// - Throws: ``CheckpointError``: a dimension that ``ModelConfig`` refuses, a tokenizer with more ids than the
    ///   vocabulary, a folder that is not empty, a full disk.
    public func write(
        to directory: URL, progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) throws {
        // Reading back what would be written checks it before anything is allocated for it.
        var config = try ModelConfig(config: config.json)
        let vocabulary = config.vocabularySize
        let madeUp = tokenizer == nil ? try SyntheticTokenizer.json(size: vocabulary) : .null
        let known =
            if let tokenizer { try SyntheticTokenizer(file: tokenizer) } else {
                try SyntheticTokenizer(madeUp, file: "tokenizer.json")
            }
        guard known.size <= vocabulary else {
            throw CheckpointError(
                "config.json", field: "vocab_size", found: "\(vocabulary)",
                expected: "at least \(known.size), the number of ids of the tokenizer")
        }
        config.endOfSequenceTokens = [known.return]

        let folder = try OutputFolder(directory)
        do {
            try writeTensors(config, to: folder, progress: progress)
            try folder.write(known.generationConfig, to: "generation_config.json")
            if let tokenizer {
                try FileManager.default.copyItem(at: tokenizer, to: folder.url("tokenizer.json"))
            } else {
                try folder.write(madeUp, to: "tokenizer.json")
            }
            try folder.write(config.json, to: "config.json")
        } catch {
            folder.removeCheckpoint()
            folder.release()
            throw error
        }
        folder.release()
    }

    private func writeTensors(
        _ config: ModelConfig, to folder: OutputFolder, progress: @escaping @Sendable (Int, Int) -> Void
    ) throws {
        let files = Self.files(of: config, maximumSize: maximumFileSize)
        let total = files.joined().reduce(0) { $0 + $1.byteCount(config) }
        try folder.checkRoom(for: total)
        let counter = ProgressCounter(total: total, report: progress)
        var weightMap: [JSONObject.Member] = []
        for (index, slots) in files.enumerated() {
            let name = Self.fileName(index, of: files.count)
            let writer = try SafetensorsWriter(folder.url(name), slots: slots, config: config)
            for slot in slots { try writer.write(slot, RandomWeights(slot, config, seed: seed), counter.add) }
            try writer.finish()
            weightMap += slots.map { JSONObject.Member(name: $0.name, value: .string(name)) }
        }
        guard files.count > 1 else { return }
        try folder.write(
            ["metadata": ["total_size": JSONValue(total)], "weight_map": .object(JSONObject(weightMap))],
            to: CheckpointFiles.indexName)
    }

    /// The tensors of each file, in order.
    private static func files(of config: ModelConfig, maximumSize: Int) -> [[TensorSlot]] {
        var files: [[TensorSlot]] = [[]]
        var size = 0
        for slot in config.tensorSlots {
            let bytes = slot.byteCount(config)
            if size > 0, size + bytes > maximumSize {
                files.append([])
                size = 0
            }
            files[files.count - 1].append(slot)
            size += bytes
        }
        return files
    }

    /// As the hub's gpt-oss checkpoints do: counted from 0, the last index in the place of the number of files.
    private static func fileName(_ index: Int, of count: Int) -> String {
        func digits(_ number: Int) -> String {
            String(repeating: "0", count: max(0, 5 - "\(number)".count)) + "\(number)"
        }
        return count == 1 ? CheckpointFiles.singleName : "model-\(digits(index))-of-\(digits(count - 1)).safetensors"
    }
}

extension SyntheticTokenizer {
    /// A `generation_config.json` with the special tokens that end a reply.
    fileprivate var generationConfig: JSONValue {
        [
            "bos_token_id": JSONValue(startOfText), "do_sample": true,
            "eos_token_id": [JSONValue(`return`), JSONValue(endOfText), JSONValue(call)],
            "pad_token_id": JSONValue(endOfText),
        ]
    }
}
