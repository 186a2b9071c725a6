/// A JSON value (RFC 8259) that keeps what other readers lose: the order of an object's members, and the text of a
/// number, so that `1.0` stays apart from `1`.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(JSONNumber)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)
}

/// A number as it was written.
public struct JSONNumber: Sendable, Equatable {
    /// The number's text, which follows RFC 8259's grammar when it came from the parser.
    public let text: String

    package init(text: String) {
        self.text = text
    }

    /// A whole number.
    public init(_ value: some BinaryInteger) {
        text = String(value)
    }

    /// A finite double in the shortest form that reads back as the same value; NaN and infinities become `null`'s
    /// nearest number, 0, because JSON has no other.
    public init(_ value: Double) {
        text = value.isFinite ? "\(value)" : "0"
    }

    /// The value, where it was written without fraction and exponent and fits.
    public var integer: Int? { Int(text) }

    /// Whether it was written without fraction and exponent.
    public var isInteger: Bool { !text.utf8.contains { $0 == UInt8(ascii: ".") || $0 | 0x20 == UInt8(ascii: "e") } }

    /// The nearest double; nil when the magnitude overflows.
    public var double: Double? {
        guard let value = Double(text), value.isFinite else { return nil }
        return value
    }
}

/// An object's members in the order they were written. Names are unique, compared byte for byte.
public struct JSONObject: Sendable, Equatable {
    /// One member.
    public struct Member: Sendable, Equatable {
        /// The member's name.
        public let name: String
        /// The member's value.
        public var value: JSONValue

        /// Pairs a name with a value.
        public init(name: String, value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    /// All members, in order.
    public private(set) var members: [Member]

    /// Takes members whose names the caller knows to be unique.
    public init(_ members: [Member] = []) {
        self.members = members
    }

    /// The value of the member of that name. Setting nil removes it; setting a new name appends it. Linear in the
    /// number of members: iterate over `members` where there are many.
    public subscript(name: String) -> JSONValue? {
        get { members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value }
        set {
            let index = members.firstIndex { $0.name.utf8.elementsEqual(name.utf8) }
            switch (index, newValue) {
            case (let index?, let value?): members[index].value = value
            case (let index?, nil): members.remove(at: index)
            case (nil, let value?): members.append(Member(name: name, value: value))
            case (nil, nil): break
            }
        }
    }
}

extension JSONValue {
    /// The member of that name, where this is an object that has it.
    public subscript(name: String) -> JSONValue? { object?[name] }

    /// The text, where this is a string.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The truth value, where this is one.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The number, where this is one.
    public var number: JSONNumber? { if case .number(let value) = self { value } else { nil } }
    /// The whole number, where this is one written without fraction and exponent.
    public var integer: Int? { number?.integer }
    /// The number as a double, where this is one.
    public var double: Double? { number?.double }
    /// The elements, where this is an array.
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    /// The members, where this is an object.
    public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
    /// Whether this is `null`.
    public var isNull: Bool { self == .null }

    /// What kind of value this is, for messages: "a string", "null", …
    public var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    /// A string.
    public init(stringLiteral value: String) { self = .string(value) }
    /// A whole number.
    public init(integerLiteral value: Int) { self = .number(JSONNumber(value)) }
    /// A truth value.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// An array.
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    /// An object, its members in the order written. Names must be unique.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(elements.map { JSONObject.Member(name: $0.0, value: $0.1) }))
    }
    /// `null`.
    public init(nilLiteral: ()) { self = .null }
    /// A whole number.
    public init(_ value: some BinaryInteger) { self = .number(JSONNumber(value)) }
    /// A number; NaN and infinities, which JSON cannot say, become `null`.
    public init(_ value: Double) { self = value.isFinite ? .number(JSONNumber(value)) : .null }
}
