import CMicroHTTPD
import Foundation

// What libmicrohttpd calls, on its own thread. Three references cross the border to C:
// the server, retained from start to stop; an exchange, retained from a request's first callback to its completion;
// and the same exchange once more for a streamed body, until libmicrohttpd frees the response.
extension HTTPServer {
    static func startDaemon(
        socket: Int32, limits: HTTPLimits, context: UnsafeMutableRawPointer
    ) -> OpaquePointer? {
        shoal_mhd_start(
            socket, limits.connections, limits.idleSeconds, limits.connectionMemory,
            { context, connection, url, method, _, upload, uploadSize, request in
                guard let context, let connection, let uploadSize, let request else { return .NO }
                let server = Unmanaged<HTTPServer>.fromOpaque(context).takeUnretainedValue()
                guard let pointer = request.pointee else {
                    let exchange = HTTPExchange(
                        connection: connection, method: method.map { String(cString: $0) } ?? "",
                        path: url.map { String(cString: $0) } ?? "", key: HTTPServer.key(of: connection))
                    request.pointee = Unmanaged.passRetained(exchange).toOpaque()
                    return server.begin(exchange, on: connection)
                }
                let exchange = Unmanaged<HTTPExchange>.fromOpaque(pointer).takeUnretainedValue()
                guard uploadSize.pointee == 0 else {
                    let bytes = UnsafeRawBufferPointer(start: upload, count: uploadSize.pointee)
                    uploadSize.pointee = 0
                    return exchange.receive(bytes, limit: server.limits.bodyBytes) ? .YES : .NO
                }
                return server.advance(exchange, on: connection)
            },
            { context, _, request, reason in
                guard let context, let pointer = request?.pointee else { return }
                let exchange = Unmanaged<HTTPExchange>.fromOpaque(pointer).takeRetainedValue()
                request?.pointee = nil
                Unmanaged<HTTPServer>.fromOpaque(context).takeUnretainedValue()
                    .ended(exchange, clientLeft: reason != .REQUEST_TERMINATED_COMPLETED_OK)
            },
            context)
    }

    /// A request's headers are there. A body that is far too large is refused before it is sent; one that is somewhat too
    /// large is read and dropped, since many clients look for the answer only after they have sent everything.
    private func begin(_ exchange: HTTPExchange, on connection: OpaquePointer) -> MHD_Result {
        began(exchange)
        if isStopping { return send(APIError.shuttingDown.response, of: exchange, on: connection) }
        let length = Self.header("Content-Length", of: connection).flatMap { Int($0) } ?? 0
        let waits = Self.header("Expect", of: connection) != nil
        guard length > limits.bodyBytes, waits || length / 4 > limits.bodyBytes else { return .YES }
        return send(APIError.bodyTooLarge(limit: limits.bodyBytes).response, of: exchange, on: connection)
    }

    /// The body is there, or the connection was resumed.
    private func advance(_ exchange: HTTPExchange, on connection: OpaquePointer) -> MHD_Result {
        guard let response = exchange.takeResponse() else {
            exchange.handle(limit: limits.bodyBytes, handler)
            return .YES
        }
        return send(response, of: exchange, on: connection)
    }

    private func send(_ response: HTTPResponse, of exchange: HTTPExchange, on connection: OpaquePointer) -> MHD_Result {
        exchange.note(status: response.status)
        let made: OpaquePointer?
        switch response.body {
        case .bytes(let bytes):
            made = bytes.withUnsafeBytes { bytes in
                MHD_create_response_from_buffer(
                    bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
            }
        case .stream: made = Self.streamedResponse(of: exchange)
        }
        guard let made else { return .NO }
        defer { MHD_destroy_response(made) }
        for header in response.headers { MHD_add_response_header(made, header.name, header.value) }
        if isStopping { MHD_add_response_header(made, "Connection", "close") }
        return MHD_queue_response(connection, UInt32(response.status), made)
    }

    private static func streamedResponse(of exchange: HTTPExchange) -> OpaquePointer? {
        let context = Unmanaged.passRetained(exchange)
        let response = MHD_create_response_from_callback(
            UInt64.max, 16 << 10,
            { context, _, buffer, capacity in
                guard let context, let buffer else { return -1 }
                let exchange = Unmanaged<HTTPExchange>.fromOpaque(context).takeUnretainedValue()
                return exchange.read(into: UnsafeMutableRawBufferPointer(start: buffer, count: capacity)) ?? -1
            },
            context.toOpaque(),
            { context in
                if let context { Unmanaged<HTTPExchange>.fromOpaque(context).release() }
            })
        if response == nil { context.release() }
        return response
    }

    /// The API key in any of the places where OpenAI's, Azure's and Anthropic's clients put it.
    private static func key(of connection: OpaquePointer) -> String {
        let scheme = "bearer "
        if let authorization = header("Authorization", of: connection),
            authorization.prefix(scheme.count).lowercased() == scheme
        {
            return bounded(authorization.dropFirst(scheme.count).trimmingCharacters(in: .whitespaces))
        }
        return bounded(header("api-key", of: connection) ?? header("x-api-key", of: connection) ?? "")
    }

    /// Keys are remembered for a while, so a long one is shortened to what still tells it from others.
    private static func bounded(_ key: String) -> String {
        key.utf8.count <= 256 ? key : "\(key.prefix(64)) \(key.hashValue)"
    }

    private static func header(_ name: String, of connection: OpaquePointer) -> String? {
        MHD_lookup_connection_value(connection, .HEADER_KIND, name).map { String(cString: $0) }
    }
}
