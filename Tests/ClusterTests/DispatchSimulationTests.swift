import Foundation
import TestSupport
import Testing

/// SHOAL_SIMULATIONS=1000000 runs that many schedules; SHOAL_SIMULATION_SEED=N only the one of that seed.
@Suite struct DispatchSimulationTests {
    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    @Test("whatever breaks, every batch gets exactly its rows in bounded time, and then everyone takes part again")
    func randomFaults() {
        let one = Self.number("SHOAL_SIMULATION_SEED")
        let seeds = one.map { $0..<$0 + 1 } ?? 0..<(Self.number("SHOAL_SIMULATIONS") ?? 15_000)
        var faults = 0
        var rows = 0
        var hedges = 0
        var own = 0
        var accusations = 0
        for seed in seeds {
            let simulation = DispatchSimulation(seed: seed)
            simulation.run()
            faults += simulation.faults
            hedges += simulation.hedges
            own += simulation.sharesWork ? simulation.rowsComputedHere : 0
            accusations += simulation.accusations
            rows += simulation.rowsFromWorkers
            #expect(simulation.problem == nil, "SHOAL_SIMULATION_SEED=\(seed)")
            if simulation.problem != nil { return }
        }
        // What is to be shown must have happened.
        #expect(
            one != nil
                || rows > 10 * seeds.count && faults > seeds.count && hedges > seeds.count / 100
                    && own > seeds.count
                    && accusations > seeds.count / 100
        )
        print(
            "\(seeds.count) schedules: \(faults) faults, \(rows) rows from workers, \(own) of its own share, \(hedges) hedges, \(accusations) accusations"
        )
    }
}
