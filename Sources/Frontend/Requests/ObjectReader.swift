import JSON

/// Reads an object member by member, and at the end refuses what nobody has asked for.
///
/// OpenAI's clients leave optional fields out or send `null`; the two mean the same here.
package struct ObjectReader {
    let path: String
    let object: JSONObject
    private var known: [String] = []

    init(path: String, object: JSONObject) {
        self.path = path
        self.object = object
    }

    /// Reads a whole body.
    /// - Throws: ``APIError``.
    package init(body: [UInt8]) throws {
        let value: JSONValue
        do {
            value = try JSONValue(parsing: body)
        } catch {
            throw APIError.invalid("The request's body is not JSON: \(error).", code: "invalid_json")
        }
        guard let object = value.object else {
            throw APIError.invalid(
                "The request's body must be a JSON object, but is \(value.kind).", code: "invalid_json")
        }
        self.init(path: "", object: object)
    }

    /// A member that is neither absent nor null.
    mutating func field(_ name: String) -> Field? {
        known.append(name)
        guard let value = object[name], !value.isNull else { return nil }
        return Field(path: path(of: name), value: value)
    }

    /// A member that must be there.
    /// - Throws: ``APIError``.
    mutating func required(_ name: String) throws -> Field {
        guard let field = field(name) else {
            let path = path(of: name)
            throw APIError.invalid(
                "Missing required parameter: '\(path)'.", param: path, code: "missing_required_parameter")
        }
        return field
    }

    /// Takes members that change nothing about the answer.
    mutating func ignore(_ names: String...) {
        known += names
    }

    /// Takes a member that this server cannot honour, unless it says what is done anyway.
    /// - Throws: ``APIError``.
    mutating func refuse(_ name: String, unless neutral: JSONValue...) throws {
        guard let field = field(name), !neutral.contains(where: { Self.same($0, field.value) }) else { return }
        let remedy =
            neutral.isEmpty
            ? "leave it out" : "leave it out or set it to \(neutral.map(\.serialized).joined(separator: " or "))"
        throw APIError.invalid(
            "'\(field.path)' is not supported by this server with this value: \(remedy).", param: field.path,
            code: "unsupported_parameter")
    }

    /// Refuses members that have not been read.
    /// - Throws: ``APIError``.
    func end() throws {
        for member in object.members where !known.contains(where: { $0.utf8.elementsEqual(member.name.utf8) }) {
            let name = String(member.name.prefix(100))
            let near = name.utf8.count <= 40 ? Spelling.nearest(to: name, in: known) : nil
            throw APIError.invalid(
                "Unknown parameter: '\(path(of: name))'." + (near.map { " Did you mean '\($0)'?" } ?? ""),
                param: path(of: name), code: "unknown_parameter")
        }
    }

    private func path(of name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }

    private static func same(_ a: JSONValue, _ b: JSONValue) -> Bool {
        if let a = a.double, let b = b.double { return a == b }
        return a == b
    }
}

/// Guesses what was meant.
enum Spelling {
    /// The word that the fewest edits lead to, if they are few for its length.
    static func nearest(to word: String, in words: [String]) -> String? {
        let ranked = words.map { (word: $0, distance: distance(Array(word.utf8), Array($0.utf8))) }
        guard let best = ranked.min(by: { $0.distance < $1.distance }),
            best.distance <= max(1, best.word.utf8.count / 3)
        else { return nil }
        return best.word
    }

    /// Levenshtein's distance.
    private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, y) in b.enumerated() {
                let substituted = diagonal + (x == y ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substituted, row[j] + 1, diagonal + 1)
            }
        }
        return row[b.count]
    }
}
