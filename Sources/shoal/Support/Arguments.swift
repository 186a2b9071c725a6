import Foundation

/// The flags and operands of one command, from the command line and, behind it, the environment.
struct Arguments {
    private var values: [String: String] = [:]
    /// By which name a value that was not typed was given.
    private var variables: [String: String] = [:]
    private(set) var operands: [String] = []

    /// Reads `words` after the command's flags; a flag that is absent is looked up in the environment.
    init(_ words: [String], flags: [Flag], operands most: Int, environment: [String: String]) throws(UsageError) {
        var words = words[...]
        while let word = words.popFirst() {
            guard word.hasPrefix("--"), word != "--" else {
                if word == "--" {
                    operands += words
                    words = []
                } else if word.hasPrefix("-"), word.count > 1, Int(word) == nil {
                    throw UsageError("unknown flag \(word); flags begin with two dashes")
                } else {
                    operands.append(word)
                }
                continue
            }
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts.first ?? "")
            guard let flag = flags.first(where: { $0.name == name }) else {
                throw UsageError("unknown flag --\(name)" + suggestion(for: name, among: flags.map { "--" + $0.name }))
            }
            guard values[name] == nil else { throw UsageError("--\(name) was given twice") }
            if flag.value == nil {
                guard parts.count == 1 else { throw UsageError("--\(name) takes no value") }
                values[name] = "1"
            } else if parts.count == 2 {
                values[name] = String(parts[1])
            } else {
                guard let value = words.popFirst() else {
                    throw UsageError("--\(name) needs a value: \(flag.value ?? "")")
                }
                values[name] = value
            }
        }
        guard operands.count <= most else { throw UsageError("unexpected argument '\(operands[most])'") }
        for flag in flags where values[flag.name] == nil {
            guard let value = environment[flag.environmentName], !value.isEmpty else { continue }
            if flag.value == nil {
                guard let isOn = Self.switches[value.lowercased()] else {
                    throw UsageError("\(flag.environmentName) is '\(value)'; expected 1 or 0")
                }
                if !isOn { continue }
            }
            values[flag.name] = value
            variables[flag.name] = flag.environmentName
        }
    }

    private static let auto = "auto"
    private static let switches = [
        "1": true, "true": true, "yes": true, "on": true, "0": false, "false": false, "no": false, "off": false,
    ]

    /// How a value was given.
    func source(of name: String) -> String { variables[name] ?? "--" + name }

    func string(_ name: String) -> String? { values[name] }

    func has(_ name: String) -> Bool { values[name] != nil }

    /// Whether the command line has it, not the environment alone.
    func wasTyped(_ name: String) -> Bool { values[name] != nil && variables[name] == nil }

    func required(_ name: String) throws(UsageError) -> String {
        guard let value = values[name], !value.isEmpty else { throw UsageError("--\(name) is missing") }
        return value
    }

    /// - Parameter hasAuto: whether `auto`, which gives nil as the absent flag does, is a value too.
    func integer(_ name: String, in range: ClosedRange<Int>, hasAuto: Bool = false) throws(UsageError) -> Int? {
        guard let text = values[name], !(hasAuto && text == Self.auto) else { return nil }
        guard let value = Int(text), range.contains(value) else {
            let bound =
                range.upperBound == .max ? "\(range.lowerBound) or more" : "\(range.lowerBound) to \(range.upperBound)"
            throw UsageError(
                "\(source(of: name)) is '\(text)'; expected \(hasAuto ? "auto, or " : "")a whole number, \(bound)")
        }
        return value
    }

    /// - Parameter hasAuto: as for integers.
    func number(_ name: String, in range: ClosedRange<Double>, hasAuto: Bool = false) throws(UsageError) -> Double? {
        guard let text = values[name], !(hasAuto && text == Self.auto) else { return nil }
        guard let value = Double(text), range.contains(value) else {
            throw UsageError(
                "\(source(of: name)) is '\(text)'; expected \(hasAuto ? "auto, or " : "")a number from \(range.lowerBound) to "
                    + "\(range.upperBound)")
        }
        return value
    }

    /// A number of bytes: `8G`, `512MiB`, `1000000`. K, M, G and T are powers of 1024.
    func bytes(_ name: String) throws(UsageError) -> Int? {
        guard let text = values[name] else { return nil }
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let exponents = ["": 0, "k": 1, "m": 2, "g": 3, "t": 4]
        var unit = text.dropFirst(digits.count).lowercased()
        for suffix in ["ib", "b"] where unit.hasSuffix(suffix) {
            unit.removeLast(suffix.count)
            break
        }
        guard let count = Int(digits), let exponent = exponents[unit],
            case let (bytes, overflow) = count.multipliedReportingOverflow(by: 1 << (10 * exponent)), !overflow,
            bytes > 0
        else { throw UsageError("\(source(of: name)) is '\(text)'; expected a size such as 8G or 512M") }
        return bytes
    }

    func choice<Value: RawRepresentable & CaseIterable>(
        _ name: String, default fallback: Value
    ) throws(UsageError) -> Value where Value.RawValue == String {
        guard let text = values[name] else { return fallback }
        guard let value = Value(rawValue: text) else {
            let known = Value.allCases.map(\.rawValue)
            throw UsageError(
                "\(source(of: name)) is '\(text)'; expected " + known.joined(separator: " or ")
                    + suggestion(for: text, among: known))
        }
        return value
    }
}

/// "; did you mean X?", where something known is near.
func suggestion(for word: String, among known: [String]) -> String {
    let bare = word.drop { $0 == "-" }
    let nearest = known.map { (distance(Array(bare), Array($0.drop { $0 == "-" })), $0) }.min { $0.0 < $1.0 }
    guard let (distance, name) = nearest, distance <= max(2, bare.count / 3) else { return "" }
    return "; did you mean \(name)?"
}

/// The number of single-character edits from `a` to `b` (Levenshtein).
private func distance(_ a: [Character], _ b: [Character]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            (diagonal, row[j + 1]) = (row[j + 1], min(diagonal + (x == y ? 0 : 1), row[j] + 1, row[j + 1] + 1))
        }
    }
    return row[b.count]
}
