import JSON

extension JSONValue {
    /// The same value, its numbers written as OpenAI's Harmony library writes them: integers of 64 bits as they are,
    /// all others as the shortest double, positional for exponents from -5 to 15 and scientific beyond.
    var canonical: JSONValue {
        switch self {
        case .number(let number): .number(number.canonical)
        case .array(let elements): .array(elements.map(\.canonical))
        case .object(let object):
            .object(JSONObject(object.members.map { .init(name: $0.name, value: $0.value.canonical) }))
        case .null, .bool, .string: self
        }
    }
}

extension JSONNumber {
    fileprivate var canonical: JSONNumber {
        if isInteger, text != "-0", Int64(text) != nil || UInt64(text) != nil { return self }
        guard let value = double else { return self }
        let sign = value.sign == .minus ? "-" : ""
        return JSONNumber(text: sign + Self.canonicalText(ofMagnitude: value.magnitude))
    }

    private static func canonicalText(ofMagnitude value: Double) -> String {
        if value == 0 { return "0.0" }
        // Swift prints the shortest digits, too; only where the point goes differs.
        let parts = value.description.split(separator: "e")
        let mantissa = (parts.first ?? "0").split(separator: ".", omittingEmptySubsequences: false)
        let whole = mantissa.first ?? "0"
        let written = whole + (mantissa.count > 1 ? mantissa[1] : "")
        let significant = written.drop { $0 == "0" }
        let digits = String(significant.reversed().drop { $0 == "0" }.reversed())
        let exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let point = whole.count + exponent - (written.count - significant.count)  // value = 0.digits · 10^point

        let zeros = { (count: Int) in String(repeating: "0", count: count) }
        switch point {
        case 1...16 where digits.count <= point: return digits + zeros(point - digits.count) + ".0"
        case 1...16: return "\(digits.prefix(point)).\(digits.dropFirst(point))"
        case -4...0: return "0.\(zeros(-point))\(digits)"
        default:
            let fraction = digits.count > 1 ? ".\(digits.dropFirst())" : ""
            return "\(digits.prefix(1))\(fraction)e\(point - 1)"
        }
    }
}
