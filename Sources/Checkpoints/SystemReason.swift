import Foundation

/// Why the system did not do what Foundation was asked for, in the system's words: Foundation's own say less.
package func systemReason(_ error: any Error) -> String {
    let cause = ((error as? CocoaError)?.underlying ?? error) as NSError
    return cause.domain == NSPOSIXErrorDomain
        ? String(cString: strerror(Int32(cause.code))) : cause.localizedDescription
}
