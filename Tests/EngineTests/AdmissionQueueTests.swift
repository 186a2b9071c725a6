import Engine
import TestSupport
import Testing

/// Who is admitted next.
@Suite struct AdmissionQueueTests {
    /// Empties the queue, charging each request's tenant with `service`.
    private func order(_ queue: inout AdmissionQueue, _ tenants: [RequestID: String], service: Double = 10)
        -> [RequestID]
    {
        var order: [RequestID] = []
        while let id = queue.first {
            order.append(id)
            queue.remove(id, tenant: tenants[id] ?? "")
            queue.charge(tenants[id] ?? "", service)
        }
        return order
    }

    @Test("one tenant's requests come in order of priority, then of arrival")
    func priorities() {
        var queue = AdmissionQueue()
        for (id, priority) in [(1, 0), (2, 5), (3, -1), (4, 0), (5, -1)] {
            queue.add(RequestID(id), tenant: "a", priority: priority)
        }
        #expect(queue.count == 5)
        #expect(order(&queue, [:].merging((1...5).map { ($0, "a") }) { $1 }) == [3, 5, 1, 4, 2])
        #expect(queue.count == 0 && queue.first == nil)
    }

    @Test("tenants take turns however many requests one of them has waiting")
    func turns() {
        var queue = AdmissionQueue()
        var tenants: [RequestID: String] = [:]
        for id in 1...6 { tenants[RequestID(id)] = "greedy" }
        for id in 7...8 { tenants[RequestID(id)] = "modest" }
        for id in 1...8 { queue.add(RequestID(id), tenant: tenants[RequestID(id)] ?? "", priority: 0) }
        #expect(order(&queue, tenants) == [1, 7, 2, 8, 3, 4, 5, 6])
    }

    @Test("who was served less comes first; who was away is not owed the time")
    func service() {
        var queue = AdmissionQueue()
        queue.add(1, tenant: "a", priority: 0)
        queue.charge("a", 1000)
        queue.add(2, tenant: "b", priority: 0)
        // b was away while a had its thousand: it begins where a stands, and who came first goes first.
        #expect(queue.first == 1)
        queue.charge("a", 1)
        #expect(queue.first == 2)
        queue.charge("b", 2)
        #expect(queue.first == 1)
    }

    @Test("who comes while nobody waits is not owed what others had before")
    func newcomer() {
        var queue = AdmissionQueue()
        queue.add(1, tenant: "old", priority: 0)
        queue.remove(1, tenant: "old")
        queue.charge("old", 1_000_000)
        for id in 2...20 { queue.add(RequestID(id), tenant: "new", priority: 0) }
        queue.add(21, tenant: "old", priority: 0)
        let tenants = Dictionary(uniqueKeysWithValues: (2...21).map { (RequestID($0), $0 == 21 ? "old" : "new") })
        #expect(order(&queue, tenants).prefix(2).contains(21))
    }

    @Test("a hundred thousand tenants leave no trace that grows")
    func forgetting() {
        var queue = AdmissionQueue()
        for id in 0..<100_000 {
            queue.add(RequestID(id), tenant: "\(id)", priority: 0)
            queue.remove(RequestID(id), tenant: "\(id)")
            queue.charge("\(id)", 1)
        }
        #expect(queue.rememberedTenants <= 5000)
    }
}
