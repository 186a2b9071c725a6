import Cluster
import Engine

extension ClusterStatus {
    /// What alarms and graphs want of it, as Prometheus reads it.
    var exposition: String {
        var exposition = Exposition()
        exposition.add("cluster_ready", "gauge", "1 while every expert can be computed.", ready ? 1 : 0)
        exposition.add("cluster_epoch", "gauge", "Of the placement in force.", Int(clamping: epoch))
        exposition.add("cluster_experts", "gauge", "Pairs of layer and expert.", experts)
        exposition.add("cluster_experts_unowned", "gauge", "Those that no worker owns.", unownedExperts)
        exposition.add("cluster_replicas", "gauge", "Copies of experts beyond the first.", replicas)
        exposition.add(
            "cluster_own_rows_total", "counter", "Rows that the coordinator computed itself.", rowsComputedHere)
        let states = Dictionary(grouping: workers, by: \.state)
        exposition.add(
            "cluster_workers", "gauge", "Members by state.",
            ["joining", "loading", "ready", "suspect", "draining", "held"].map {
                .init(states[$0]?.count ?? 0, ("state", $0))
            })
        exposition.add(
            "cluster_dropped_total", "counter", "Messages that were not taken, by cause.",
            dropped.sorted { $0.key < $1.key }.map { .init($0.value, ("cause", $0.key)) })
        func add(_ name: String, _ type: String, _ help: String, _ value: (Worker) -> any CustomStringConvertible) {
            exposition.add(
                "worker_" + name, type, help,
                workers.map { .init("\(value($0))", ("worker", $0.name), ("id", $0.id)) })
        }
        add("experts", "gauge", "Experts that it holds, replicas included.") { $0.experts }
        add("batches_total", "counter", "Requests that it answered.") { $0.batches }
        add("rows_total", "counter", "Rows that it computed.") { $0.rows }
        add("sent_bytes_total", "counter", "Of rows, to it.") { $0.bytesSent }
        add("received_bytes_total", "counter", "Of rows, from it.") { $0.bytesReceived }
        add("failures_total", "counter", "Answers that were given up on.") { $0.failures }
        add("hedges_total", "counter", "Batches with which it was so late that others were asked as well.") {
            $0.hedges
        }
        add("seconds_per_batch", "gauge", "From the last byte sent to the whole answer, a moving average.") {
            $0.millisecondsPerBatch / 1000
        }
        return exposition.text
    }
}
