internal import Foundation
public import JSON

extension Inspection {
    /// The report for a program: every tensor, sizes in bytes, `config` in the style of `config.json`.
    public var json: JSONValue {
        [
            "directory": .string(directory.path),
            "sound": .bool(isSound),
            "problems": .array(problems.map { .string($0) }),
            "config": config?.json ?? nil,
            "parameters": JSONValue(parameterCount),
            "element_types": .array(
                bytesByElementType.map {
                    [
                        "dtype": .string($0.elementType), "tensors": JSONValue($0.tensors),
                        "bytes": JSONValue($0.bytes),
                    ]
                }),
            "files": .array(
                files.map {
                    [
                        "name": .string($0.name), "bytes": JSONValue($0.size),
                        "sha256": $0.sha256.map { .string($0) } ?? nil,
                    ]
                }),
            "tensors": .array(
                tensors.map {
                    [
                        "name": .string($0.name), "dtype": .string($0.elementType),
                        "shape": .array($0.shape.map { JSONValue($0) }), "bytes": JSONValue($0.size),
                        "file": .string($0.file), "used": .bool($0.isUsed),
                    ]
                }),
        ]
    }
}
