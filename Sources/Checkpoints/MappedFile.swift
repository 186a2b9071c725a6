internal import Foundation

/// What tells one state of a file from another without reading it.
package struct FileIdentity: Sendable, Hashable {
    package let device, inode: UInt64
    package let size: Int
    package let modified, changed: Int64  // nanoseconds since 1970

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int(status.st_size)
        modified = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
        changed = Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec)
    }
}

/// A file mapped read-only for as long as this object lives.
///
/// The mapping is shared, so all processes on a machine use one copy in the page cache. The kernel's default read-ahead
/// is kept: an expert's matrix is read front to back, but which expert comes next is random.
///
/// A file that another program shortens while it is mapped ends this process at the next touch of the lost pages, with
/// SIGBUS, or when libzmq is to send them; replacing it (write elsewhere, rename) is harmless.
final class MappedFile: @unchecked Sendable {  // The memory is never written.
    /// The last path component, for messages.
    let name: String
    /// Kept open so that what is hashed is what is mapped, whatever the path names by then.
    let descriptor: Int32
    let identity: FileIdentity
    let bytes: UnsafeRawBufferPointer

    init(_ url: URL) throws {
        name = url.lastPathComponent
        // Without O_NONBLOCK, opening a named pipe would wait for a writer.
        let descriptor = open(url.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw CheckpointError("\(url.path): cannot open: \(systemError())") }
        do {
            var status = stat()
            guard fstat(descriptor, &status) == 0 else {
                throw CheckpointError("\(url.path): cannot read its status: \(systemError())")
            }
            guard status.st_mode & S_IFMT == S_IFREG, status.st_size > 0 else {
                throw CheckpointError("\(url.path): found an empty file or no file at all, expected a regular file")
            }
            identity = FileIdentity(status)
            let address = mmap(nil, identity.size, PROT_READ, MAP_SHARED, descriptor, 0)
            guard let address, address != MAP_FAILED else {
                throw CheckpointError("\(url.path): cannot map \(identity.size) bytes: \(systemError())")
            }
            bytes = UnsafeRawBufferPointer(start: address, count: identity.size)
            self.descriptor = descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit {
        munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
        close(descriptor)
    }
}

/// What `errno` says, in words.
func systemError() -> String { String(cString: strerror(errno)) }
