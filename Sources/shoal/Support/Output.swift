import Foundation

/// Writes text to standard output, at once: whoever reads a pipe sees it when a terminal would show it.
/// - Throws: ``Failure`` where nobody reads it any more, or the disk is full.
func printOutput(_ text: String, terminator: String = "\n") throws(Failure) {
    guard write(text + terminator, to: STDOUT_FILENO) else {
        throw Failure("cannot write to standard output: \(String(cString: strerror(errno)))")
    }
}

/// Writes text to standard error as far as that takes it: a log that nobody reads must not end what it tells of.
func printError(_ text: String, terminator: String = "\n") {
    _ = write(text + terminator, to: STDERR_FILENO)
}

/// Whether all of it could be written. `FileHandle.write` traps where this fails, and `print` says nothing.
private func write(_ text: String, to descriptor: Int32) -> Bool {
    var text = text
    return text.withUTF8 { bytes in
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = Foundation.write(descriptor, UnsafeBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
