import Cluster
import Foundation
import JSON

/// How log lines look.
enum LogFormat: String, CaseIterable {
    case text, json
}

enum Logging {
    static let flags = [
        Flag("log-level", "LEVEL", "debug, info, warning or error (default info)."),
        Flag("log-format", "FORMAT", "text or json, one object a line (default text)."),
    ]

    /// A log to standard error at the level and in the format of the flags.
    static func make(_ arguments: Arguments) throws(UsageError) -> Log {
        let least = try arguments.choice("log-level", default: Log.Level.info)
        let format = try arguments.choice("log-format", default: LogFormat.text)
        let levels = Log.Level.allCases
        return Log { level, message, fields in
            guard levels.firstIndex(of: level) ?? 0 >= levels.firstIndex(of: least) ?? 0 else { return }
            printError(line(level, message, fields, format))
        }
    }

    private static func line(_ level: Log.Level, _ message: String, _ fields: Log.Fields, _ format: LogFormat) -> String
    {
        let time = Date().formatted(.iso8601.time(includingFractionalSeconds: true))
        switch format {
        case .text:
            return "\(time) \(level.rawValue) \(message)" + fields.map { "  \($0.name)=\($0.value)" }.joined()
        case .json:
            var object = JSONObject()
            object["time"] = .string(time)
            object["level"] = .string(level.rawValue)
            object["message"] = .string(message)
            for field in fields { object[field.name] = .string(field.value) }
            return JSONValue.object(object).serialized
        }
    }
}

extension Log {
    /// For commands whose output is not a log: warnings and errors, to standard error.
    static let warnings = Log { level, message, fields in
        guard level == .warning || level == .error else { return }
        printError("\(level.rawValue): \(message)" + fields.map { "  \($0.name)=\($0.value)" }.joined())
    }
}
