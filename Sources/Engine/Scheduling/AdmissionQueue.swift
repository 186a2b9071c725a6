/// Identifies a request within one engine.
package typealias RequestID = UInt64

/// Requests that wait to be admitted. Between tenants the one served least comes first, by the Virtual Token Counter of
/// Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024); within a tenant the lowest priority number, then
/// the earliest.
package struct AdmissionQueue {
    private struct Entry {
        var id: RequestID
        var priority: Int
        var arrival: UInt64
    }

    /// Those of each tenant that has any, in the order in which they are to be admitted.
    private var waiting: [String: [Entry]] = [:]
    /// Service that each tenant has had. A tenant that returns from a pause is lifted to those that wait or, where
    /// none does, to whoever has had most: nobody saves service up.
    private var served: [String: Double] = [:]
    private var most = 0.0
    private var arrivals: UInt64 = 0
    package private(set) var count = 0

    /// Tenants whose service is remembered while they have nothing waiting.
    private static let remembered = 4096

    package init() {}

    package mutating func add(_ id: RequestID, tenant: String, priority: Int) {
        if waiting[tenant] == nil {
            let least = waiting.keys.map { served[$0, default: 0] }.min() ?? most
            served[tenant] = max(served[tenant, default: 0], least)
        }
        arrivals += 1
        var entries = waiting[tenant] ?? []
        let index = entries.lastIndex { $0.priority <= priority }.map { $0 + 1 } ?? 0
        entries.insert(Entry(id: id, priority: priority, arrival: arrivals), at: index)
        waiting[tenant] = entries
        count += 1
    }

    /// Whose turn it is.
    package var first: RequestID? {
        let heads = waiting.compactMap { tenant, entries in
            entries.first.map { (id: $0.id, service: served[tenant, default: 0], arrival: $0.arrival) }
        }
        return heads.min { ($0.service, $0.arrival) < ($1.service, $1.arrival) }?.id
    }

    /// Tenants whose service is remembered.
    package var rememberedTenants: Int { served.count }

    /// Takes a request out, admitted or ended.
    package mutating func remove(_ id: RequestID, tenant: String) {
        guard let index = waiting[tenant]?.firstIndex(where: { $0.id == id }) else { return }
        waiting[tenant]?.remove(at: index)
        if waiting[tenant]?.isEmpty == true { waiting[tenant] = nil }
        count -= 1
    }

    /// Notes service given to a tenant.
    package mutating func charge(_ tenant: String, _ service: Double) {
        served[tenant, default: 0] += service
        most = max(most, served[tenant, default: 0])
        guard served.count > Self.remembered + waiting.count else { return }
        // Whoever has had least loses least by being forgotten.
        let idle = served.filter { waiting[$0.key] == nil }.sorted {
            ($0.value, $0.key) < ($1.value, $1.key)
        }
        for (tenant, _) in idle.prefix(Self.remembered / 2) { served[tenant] = nil }
    }
}
