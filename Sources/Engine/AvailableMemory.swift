import Foundation

/// What the machine, or the control group that this process is in, could still give: pages of files that nobody must have
/// in memory count.
package enum AvailableMemory {
    /// Nil where neither says.
    package static var bytes: Int? { [machine, controlGroup].compactMap(\.self).min() }

    private static var machine: Int? {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8) else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
    }

    /// What a container allows (control groups, version 2); its page cache counts as available.
    private static var controlGroup: Int? {
        func read(_ name: String) -> String? { try? String(contentsOfFile: "/sys/fs/cgroup/\(name)", encoding: .utf8) }
        func number(_ text: some StringProtocol) -> Int? { Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) }
        guard let limit = read("memory.max").flatMap({ number($0) }),
            let used = read("memory.current").flatMap({ number($0) })
        else { return nil }
        let files = read("memory.stat")?.split(separator: "\n").first { $0.hasPrefix("file ") }
        return limit - used + (files?.split(separator: " ").last.flatMap { number($0) } ?? 0)
    }
}
