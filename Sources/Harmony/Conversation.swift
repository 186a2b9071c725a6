/// What a model reads: messages in order.
public struct Conversation: Sendable, Equatable {
    /// The messages, oldest first.
    public var messages: [Message]

    /// A conversation of these messages.
    public init(messages: [Message] = []) {
        self.messages = messages
    }
}

/// Who wrote a message. Raw values are the words of the format.
public enum Role: String, Sendable, CaseIterable {
    case system, developer, user, assistant, tool
}

/// One message: who wrote it, to whom, in which channel, and what it says.
public struct Message: Sendable, Equatable {
    /// Who wrote it.
    public var role: Role
    /// The author's name; a tool must have one, such as `functions.get_weather`.
    public var name: String?
    /// To whom it is addressed, such as `functions.get_weather`; nil means everyone.
    public var recipient: String?
    /// `analysis`, `commentary` or `final` when the assistant is well behaved.
    public var channel: String?
    /// What kind of text it is, such as `<|constrain|>json` or `code`.
    public var contentType: String?
    /// What it says; the parts follow each other without separators.
    public var content: [Content]

    /// A message with any content.
    public init(
        role: Role, name: String? = nil, recipient: String? = nil, channel: String? = nil, contentType: String? = nil,
        content: [Content]
    ) {
        self.role = role
        self.name = name
        self.recipient = recipient
        self.channel = channel
        self.contentType = contentType
        self.content = content
    }

    /// A message that is one text.
    public init(
        role: Role, name: String? = nil, recipient: String? = nil, channel: String? = nil, contentType: String? = nil,
        text: String
    ) {
        self.init(
            role: role, name: name, recipient: recipient, channel: channel, contentType: contentType,
            content: [.text(text)])
    }
}

/// A part of a message.
public enum Content: Sendable, Equatable {
    /// Plain text: what looks like a special token in it is only text.
    case text(String)
    /// What the model is told about itself; only in system messages.
    case system(SystemContent)
    /// Instructions and tools; only in developer messages.
    case developer(DeveloperContent)
}
