import JSON
import TestSupport
import Testing

@Suite struct JSONTests {
    @Test("order, number text and nesting survive a round trip")
    func roundTrip() throws {
        let text = #"{"b":1.0,"a":[1,-0,1e5,"é\n\u001f\"\\",null,true,{}],"":[]}"#
        #expect(try JSONValue(parsing: text).serialized == text)
    }

    @Test("escapes and surrogate pairs")
    func escapes() throws {
        #expect(try JSONValue(parsing: #""\ud83d\ude00\/\u00e9\b""#) == .string("😀/é\u{8}"))
    }

    @Test(
        "what is not JSON is refused",
        arguments: [
            "", " ", "{", "[1,]", "{\"a\":1,}", "{\"a\" 1}", "01", "1.", "+1", ".5", "1e", "tru", "nul", "\"",
            "\"\\x\"",
            #""\ud800""#, #""\ud800\u0041""#, #""\udc00""#, "\"\u{1}\"", "1 2", #"{"a":1,"a":2}"#, "NaN", "--1",
            #""\u12g4""#,
        ])
    func refused(text: String) {
        #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
    }

    @Test("invalid UTF-8 is refused") func invalidUTF8() {
        #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xC3, 0x28, 0x22]) }
    }

    @Test("names are compared as bytes, not as canonically equivalent characters")
    func bytewiseNames() throws {
        let value = try JSONValue(parsing: "{\"\u{e9}\":1,\"e\u{301}\":2}")
        #expect(value["e\u{301}"]?.integer == 2)
    }

    @Test("duplicates are found among many names") func manyNames() {
        let names = (0..<1000).map { "\"n\($0)\":0" }.joined(separator: ",")
        #expect(throws: Never.self) { try JSONValue(parsing: "{\(names)}") }
        #expect(throws: JSONError.self) { try JSONValue(parsing: "{\(names),\"n500\":1}") }
    }

    @Test("nesting is bounded") func depth() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(throws: JSONError.self) { try JSONValue(parsing: deep) }
        let allowed = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
        #expect(throws: Never.self) { try JSONValue(parsing: allowed) }
    }

    @Test("mutated texts are read or refused, never worse") func mutations() throws {
        var generator = SeededGenerator(seed: 1)
        let text = Array(#"{"a":[1,2.5e-3,"x\u00e9\ud83d\ude00"],"b":{"c":null,"d":[true,false,{}]}}"#.utf8)
        var read = 0
        for _ in 0..<200_000 {
            if let value = try? JSONValue(parsing: text.mutated(using: &generator)) {
                read += 1
                #expect(try JSONValue(parsing: value.serialized) == value)
            }
        }
        #expect(read > 0)
    }
}
