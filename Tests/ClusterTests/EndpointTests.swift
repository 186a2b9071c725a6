import Cluster
import Testing

@Suite struct EndpointTests {
    private static let reachable = [
        "tcp://0.0.0.0:1", "tcp://*:1", "tcp://10.0.0.1:1", "tcp://[::]:1", "tcp://eth0:1", "tcp://example.org:1",
        "tcp://127.0.0.1.example.org:1", "tcp://127.0.0:1", "tcp://127.0.0.256:1", "tcp://[fe80::1%eth0]:1",
    ]

    @Test(
        "this machine's endpoints are taken",
        arguments: [
            ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*"), ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
            ("tcp://127.9.8.7:5555", "tcp://127.9.8.7:5555"), ("tcp://localhost:80", "tcp://127.0.0.1:80"),
            ("tcp://[::1]:81", "tcp://[::1]:81"), ("ipc:///tmp/x", "ipc:///tmp/x"),
        ])
    func taken(text: String, canonical: String) throws {
        #expect(try Endpoint(text).description == canonical)
    }

    @Test(
        "what reaches beyond this machine is refused without keys, with the reason and the remedy", arguments: reachable
    )
    func beyond(text: String) throws {
        let error = #expect(throws: ClusterError.self) { try Endpoint(text) }
        #expect(error?.description.contains("neither encrypted nor authenticated") == true)
        #expect(error?.description.contains("shoal keygen") == true)
    }

    @Test("with keys any address is taken", arguments: reachable + ["tcp://coordinator-1.rack_2:7070"])
    func beyondWithKeys(text: String) throws {
        #expect(try Endpoint(text, beyondThisMachine: true).description == text)
    }

    @Test("data goes one port above control, or to any free port")
    func dataPort() throws {
        func candidates(_ text: String) throws -> [String] { try Endpoint(text).candidatesForData.map(\.description) }
        #expect(try candidates("tcp://127.0.0.1:7070") == ["tcp://127.0.0.1:7071", "tcp://127.0.0.1:*"])
        #expect(try candidates("tcp://127.0.0.1:*") == ["tcp://127.0.0.1:*"])
        #expect(try candidates("tcp://127.0.0.1:65535") == ["tcp://127.0.0.1:*"])
        #expect(try candidates("ipc:///tmp/x") == ["ipc:///tmp/x.data"])
    }

    @Test(
        "what is no endpoint is refused",
        arguments: [
            "", "127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:65536", "tcp://:1", "ipc://", "udp://127.0.0.1:1",
            "tcp://10.0.0.1;127.0.0.1:1", "tcp://[]:1", "tcp://[::1:1", "tcp://::1:1", "tcp://a b:1", "tcp://**:1",
        ])
    func malformed(text: String) {
        #expect(throws: ClusterError.self) { try Endpoint(text, beyondThisMachine: true) }
    }
}
