import JSON

extension TokenizerFile {
    /// Refuses whatever would make ids differ from those of plain byte-level BPE over the o200k pattern.
    static func checkPipeline(of root: JSONValue, model: JSONObject) throws(TokenizerError) {
        try check(model, "model", [("type", ["BPE"])])
        // Absent, null, false and empty all mean that the feature is not used; 0 is the dropout that drops nothing.
        let unused: [JSONValue] = [.null, false, "", .number(JSONNumber(0.0)), 0]
        for name in ["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"] {
            if let value = model[name], !unused.contains(value) {
                throw error("model.\(name)", found: value, expected: "null: gpt-oss has no such thing")
            }
        }
        guard root["normalizer"]?.isNull ?? true else {
            throw error("normalizer", found: root["normalizer"], expected: "null: gpt-oss does not normalise")
        }
        for name in ["post_processor", "decoder"] where !(root[name]?.isNull ?? true) {
            try check(root[name]?.object, name, [("type", ["ByteLevel"])])
        }
        let sequence = root["pre_tokenizer"]
        try check(sequence?.object, "pre_tokenizer", [("type", ["Sequence"])])
        let steps = sequence?["pretokenizers"]?.array ?? []
        guard steps.count == 2 else {
            throw error("pre_tokenizer.pretokenizers", "found \(steps.count), expected 2: Split and ByteLevel")
        }
        let split = "pre_tokenizer.pretokenizers[0]"
        try check(
            steps[0].object, split,
            [("type", ["Split"]), ("behavior", ["Isolated"]), ("invert", [false, nil])])
        try check(
            steps[0]["pattern"]?.object, "\(split).pattern", [("Regex", [.string(PreTokenizer.o200kPattern)])])
        try check(
            steps[1].object, "pre_tokenizer.pretokenizers[1]",
            [("type", ["ByteLevel"]), ("add_prefix_space", [false]), ("use_regex", [false])])
    }

    /// Each member must have one of the values; nil stands for an absent member.
    private static func check(
        _ object: JSONObject?, _ name: String, _ members: [(String, [JSONValue?])]
    ) throws(TokenizerError) {
        guard let object else { throw error(name, "expected an object") }
        for (member, expected) in members where !expected.contains(object[member]) {
            throw error(
                "\(name).\(member)", found: object[member],
                expected: "\(expected.first??.serialized ?? "null"), which is what gpt-oss has")
        }
    }
}
