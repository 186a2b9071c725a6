import Foundation

/// Requests to end this process: Ctrl-C, SIGTERM. None is lost: the handler writes a byte to a pipe, from the moment of
/// ``watch()`` on. (A dispatch source would ignore signals first and listen a moment later.)
enum EndRequest {
    /// Set before the handlers are installed, and never changed again: what they use must not be made lazily.
    private nonisolated(unsafe) static var reading: Int32 = -1
    private nonisolated(unsafe) static var writing: Int32 = -1
    private nonisolated(unsafe) static var pipe: Pipe?

    /// Takes the signals over. Called once, before anything slow.
    static func watch() {
        let pipe = Pipe()
        Self.pipe = pipe
        reading = pipe.fileHandleForReading.fileDescriptor
        writing = pipe.fileHandleForWriting.fileDescriptor
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in
                let saved = errno
                var byte: UInt8 = 0
                _ = write(EndRequest.writing, &byte, 1)
                errno = saved
            }
        }
    }

    /// Returns at the first request. A second one ends the process at once.
    static func wait() async {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                readByte()
                continuation.resume()
                readByte()
                _exit(130)
            }
        }
    }

    private static func readByte() {
        var byte: UInt8 = 0
        while read(reading, &byte, 1) < 0, errno == EINTR {}
    }
}
