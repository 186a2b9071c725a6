// swift-tools-version: 6.1
import PackageDescription

// Dependencies point one way, top to bottom: a target may import only what stands below it.

let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(of name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: "\(name)Tests",
        dependencies: [.target(name: name), "TestSupport"] + dependencies,
        swiftSettings: swiftSettings)
}

#if arch(x86_64)
    // Intel's library is for its processors and those that are like them.
    let multiBuffer: [Target] = [.systemLibrary(name: "CIPSecMB", providers: [.apt(["libipsec-mb-dev"])])]
#else
    let multiBuffer: [Target] = []
#endif

let package = Package(
    name: "shoal",
    products: [.executable(name: "shoal", targets: ["shoal"])],
    targets: [
        .executableTarget(
            name: "shoal",
            dependencies: [
                "Frontend", "Engine", "Harmony", "Tokenization", "Cluster", "Transformer", "Checkpoints",
                "LoadGenerator", "JSON",
            ],
            swiftSettings: swiftSettings),

        library("Frontend", ["Engine", "Harmony", "Tokenization", "JSON", "CMicroHTTPD"]),
        library("Engine", ["Transformer", "Checkpoints", "Kernels"]),
        library("Harmony", ["Tokenization", "JSON"]),
        library("Tokenization", ["JSON", "CPCRE2"]),
        library("Cluster", ["Transformer", "Checkpoints", "ClusterProtocol", "CZeroMQ", "Kernels"]),
        library("Transformer", ["Checkpoints", "Kernels"]),
        library("Checkpoints", ["JSON", "CNettle"] + multiBuffer.map { .target(name: $0.name) }),
        library("LoadGenerator", ["JSON", "CEpoll"]),
        library("JSON", []),
        .target(name: "Kernels", linkerSettings: [.linkedLibrary("m")]),
        .target(
            name: "ClusterProtocol", dependencies: ["CProtobufC"],
            // A module map links for Swift only; the generated code is C.
            linkerSettings: [.linkedLibrary("protobuf-c")]),

        .systemLibrary(name: "CEpoll"),
        .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
        .systemLibrary(name: "CProtobufC", providers: [.apt(["libprotobuf-c-dev"])]),
        .systemLibrary(name: "CMicroHTTPD", providers: [.apt(["libmicrohttpd-dev"])]),
        .systemLibrary(name: "CPCRE2", providers: [.apt(["libpcre2-dev"])]),
        .systemLibrary(name: "CNettle", providers: [.apt(["nettle-dev"])]),

        .target(
            name: "TestSupport", dependencies: ["Checkpoints", "JSON"], path: "Tests/TestSupport",
            swiftSettings: swiftSettings),
        tests(of: "JSON"),
        tests(of: "Kernels", ["JSON"]),
        tests(of: "Checkpoints", ["JSON"]),
        tests(of: "Tokenization", ["JSON"]),
        tests(of: "Harmony", ["Tokenization", "JSON"]),
        tests(of: "Transformer", ["Checkpoints", "Kernels", "JSON"]),
        tests(of: "Engine", ["Cluster", "Transformer", "Checkpoints", "JSON"]),
        tests(of: "Cluster", ["Transformer", "Checkpoints", "Kernels", "ClusterProtocol", "CZeroMQ"]),
        tests(of: "LoadGenerator", ["JSON"]),
        tests(of: "Frontend", ["Engine", "Harmony", "Tokenization", "Transformer", "Checkpoints", "JSON"]),
    ] + multiBuffer,
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c17
)
