import Foundation
import Frontend
import Testing

@Suite("Listen address")
struct ListenAddressTests {
    @Test(
        "loopback addresses are taken",
        arguments: [
            ("127.0.0.1:8000", "127.0.0.1:8000"), ("localhost:0", "127.0.0.1:0"),
            ("127.1.2.3:65535", "127.1.2.3:65535"),
            ("[::1]:80", "[::1]:80"),
        ])
    func loopback(text: String, description: String) throws {
        #expect(try ListenAddress(text).description == description)
    }

    @Test(
        "others are refused with the reason",
        arguments: ["0.0.0.0:80", "[::]:80", "192.168.1.2:80", "example.org:80", ":80"])
    func beyondLoopback(text: String) {
        #expect { try ListenAddress(text) } throws: { "\($0)".contains("API keys") }
    }

    @Test("what has no port is refused", arguments: ["127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", ""])
    func malformed(text: String) {
        #expect { try ListenAddress(text) } throws: { "\($0)".contains("HOST:PORT") }
    }

    @Test("a port that is taken is named")
    func taken() async throws {
        let server = HTTPServer { _ in HTTPResponse(status: 200) }
        let address = try server.start(on: ListenAddress("127.0.0.1:0"))
        #expect(address.port != 0)
        #expect { try HTTPServer { _ in HTTPResponse(status: 200) }.start(on: address) } throws: {
            "\($0)".contains("\(address.port)") && "\($0)".contains("another process")
        }
        await server.stop(grace: .zero)
    }
}
