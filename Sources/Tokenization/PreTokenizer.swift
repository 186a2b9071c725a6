internal import CPCRE2

/// Cuts text into the pieces that byte pairs are merged within, by the o200k pattern.
///
/// PCRE2 sees symbols (see ``CodePointClass``) instead of the text, so each class of the pattern is a plain set of
/// bytes, exact whatever Unicode version PCRE2 knows, and matching needs no decoding. No alternative can rescan what
/// an earlier piece has scanned more than a constant number of times, so time is linear in the text.
///
/// Sendable because a compiled pattern is only read once it exists; what matching writes is made for each call.
package final class PreTokenizer: @unchecked Sendable {
    /// The pattern as `tokenizer.json` gives it.
    static let o200kPattern = #"""
        [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\#
        [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\#
        \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
        """#

    /// The same pattern over symbols, alternative by alternative.
    private static let symbolPattern: String = {
        func symbols(_ ascii: String, _ classes: CodePointClass...) -> String {
            classes.reduce(ascii) { $0 + "\\x" + String($1.rawValue, radix: 16) }
        }
        let caseless = symbols("", .modifierLetter, .otherLetter, .mark)
        let upper = symbols("A-Z", .uppercaseLetter, .titlecaseLetter) + caseless
        let lower = symbols("a-z", .lowercaseLetter, .longS) + caseless
        let letter = symbols(
            "A-Za-z", .uppercaseLetter, .titlecaseLetter, .lowercaseLetter, .longS, .modifierLetter, .otherLetter)
        let number = symbols("0-9", .number)
        let space = symbols(#"\x09-\x0d\x20"#, .whiteSpace)
        let contraction = "(?i:'\(symbols("[s", .longS))]|'t|'re|'ve|'m|'ll|'d)?"
        return [
            #"[^\r\n\#(letter)\#(number)]?[\#(upper)]*[\#(lower)]+\#(contraction)"#,
            #"[^\r\n\#(letter)\#(number)]?[\#(upper)]+[\#(lower)]*\#(contraction)"#,
            #"[\#(number)]{1,3}"#,
            #" ?[^\#(space)\#(letter)\#(number)]+[\r\n/]*"#,
            #"[\#(space)]*[\r\n]+"#,
            #"[\#(space)]+(?![^\#(space)])"#,
            #"[\#(space)]+"#,
        ].joined(separator: "|")
    }()

    package static let o200k = Result { () throws(TokenizerError) in try PreTokenizer() }

    private let code: OpaquePointer
    private let context: OpaquePointer

    private init() throws(TokenizerError) {
        var error: CInt = 0
        var offset = 0
        let pattern = Array(Self.symbolPattern.utf8)
        guard let code = pcre2_compile_8(pattern, pattern.count, PCRE2_ANCHORED, &error, &offset, nil),
            let context = pcre2_match_context_create_8(nil)
        else {
            throw TokenizerError(
                description: "PCRE2 cannot compile the o200k pattern: error \(error) at byte \(offset)")
        }
        // Where the system forbids code generation, PCRE2 interprets instead.
        pcre2_jit_compile_8(code, PCRE2_JIT_COMPLETE)
        // The default limit on backtracking, ten million, is less than what a run of as many letters takes.
        pcre2_set_match_limit_8(context, .max)
        self.code = code
        self.context = context
    }

    deinit {
        pcre2_match_context_free_8(context)
        pcre2_code_free_8(code)
    }

    /// Calls back with each piece of a valid UTF-8 text, in order; the pieces make up the whole text.
    package func forEachPiece(
        of text: TextBytes, _ body: (TextBytes) -> Void
    ) {
        let symbols = CodePointClasses.unicode16.symbols(of: text)
        let match = pcre2_match_data_create_8(1, nil)
        defer { pcre2_match_data_free_8(match) }
        let bounds = pcre2_get_ovector_pointer_8(match)
        var position = 0
        var remaining = text
        while position < symbols.count {
            let result = pcre2_match_8(code, symbols, symbols.count, position, 0, match, context)
            // Every symbol begins some alternative, so only a lack of memory ends here: then go on by code points,
            // which loses no text.
            let end = result > 0 ? max(bounds?[1] ?? 0, position + 1) : position + 1
            var length = 0
            for _ in position..<end { length += UTF8Sequence.length(lead: remaining[remaining.startIndex + length]) }
            body(remaining.prefix(length))
            remaining = remaining.dropFirst(length)
            position = end
        }
    }
}
