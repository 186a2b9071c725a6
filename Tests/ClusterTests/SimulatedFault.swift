import TestSupport

/// Something that breaks, and for how long.
enum Fault {
    case kill(restartAfter: Int)
    case stop(Int)
    case partition(mute: Bool, deaf: Bool, Int)
    case slow(times: Int, Int)
    case lie(perThousand: Int)
    case leave
    case join
    case badNetwork(loss: Int, delay: Int, Int)
    case freeze(Int)
    /// Everything is well again, with one of the workers and with the network.
    case recover(worker: Int)

    static func random(mayLie: Bool, _ random: inout SeededGenerator) -> Fault {
        let time = Int.random(in: 20_000...1_000_000, using: &random)
        switch Int.random(in: 0..<10, using: &random) {
        case 0: return .kill(restartAfter: time / 2)
        case 1: return .stop(time)
        case 2: return .partition(mute: true, deaf: false, time)
        case 3: return .partition(mute: false, deaf: true, time)
        case 4: return .partition(mute: true, deaf: true, time)
        case 5: return .slow(times: .random(in: 2...300, using: &random), time)
        case 6: return mayLie ? .lie(perThousand: .random(in: 1...1000, using: &random)) : .stop(time)
        case 7: return Bool.random(using: &random) ? .leave : .join
        case 8:
            return .badNetwork(
                loss: .random(in: 0...30, using: &random), delay: .random(in: 300...50_000, using: &random), time)
        default: return .freeze(time / 2)
        }
    }

    func strike(_ simulation: DispatchSimulation) {
        let there = simulation.workers.indices.filter { simulation.workers[$0].isConnected }
        let worker = there.randomElement(using: &simulation.random) ?? 0
        switch self {
        case .kill(let pause):
            simulation.workers[worker].kill(.simulated(&simulation.random), startAt: simulation.time + pause)
        case .stop(let time):
            simulation.workers[worker].isStopped = true
            simulation.schedule(.recover(worker: worker), after: time)
        case .partition(let mute, let deaf, let time):
            (simulation.workers[worker].isMute, simulation.workers[worker].isDeaf) = (mute, deaf)
            simulation.schedule(.recover(worker: worker), after: time)
        case .slow(let times, let time):
            simulation.workers[worker].slowness = times
            simulation.schedule(.recover(worker: worker), after: time)
        case .lie(let perThousand): simulation.workers[worker].errors = perThousand
        case .leave: if there.contains(worker) { simulation.workers[worker].leave() }
        case .join: simulation.addWorker()
        case .badNetwork(let loss, let delay, let time):
            (simulation.loss, simulation.delay) = (loss, delay)
            simulation.schedule(.recover(worker: worker), after: time)
        case .freeze(let time): simulation.frozenUntil = simulation.time + time
        case .recover(let worker):
            (simulation.loss, simulation.delay) = (0, 300)
            simulation.recover(worker)
        }
    }
}
