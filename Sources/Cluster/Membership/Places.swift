/// Tells workers without keys apart: which of those that join now is one that was here before.
///
/// A process that was started again has nothing in common with the one before but its host, where others may run. So
/// each has a *place* on its host, such as `host#2`. It keeps it as long as it runs, and leaves it to one that comes when
/// it is gone. Nobody proves anything here: without keys, a worker's word for its host and process is all there is.
struct Places: Sendable {
    /// Hosts of which no worker is left are forgotten when there are more.
    private static let capacity = 1024

    /// By host and place, the process (``WorkerID/process``) that had it last.
    private var processes: [String: [UInt64]] = [:]

    /// A place for a worker that joins.
    /// - Parameters:
    ///   - taken: the places of members.
    ///   - end: until when whoever has a place is held off. Of the places that are free it gets the one with the earliest,
    ///     so that it does not suffer for another: who comes may be any of those that are gone.
    mutating func take(
        on host: String, process: UInt64, taken: Set<String>, end: (String) -> ContinuousClock.Instant?
    ) -> String {
        let known = processes[host, default: []]
        let free = known.indices.filter { !taken.contains(Self.name(host, $0)) }
        let mostInnocent = free.min {
            switch (end(Self.name(host, $0)), end(Self.name(host, $1))) {
            case (let one?, let other?): one < other
            case (let one, let other): one == nil && other != nil
            }
        }
        let place = known.firstIndex(of: process) ?? mostInnocent ?? known.count
        processes[host] = Array(known.prefix(place)) + [process] + Array(known.dropFirst(place + 1))
        if processes.count > Self.capacity {
            processes = processes.filter { kept, places in
                kept == host || places.indices.contains { taken.contains(Self.name(kept, $0)) }
            }
        }
        return Self.name(host, place)
    }

    private static func name(_ host: String, _ place: Int) -> String { "\(host)#\(place + 1)" }
}
