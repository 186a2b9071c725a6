import Cluster
import Testing
import Transformer

@Suite struct PlacementBoardTests {
    private let start = ContinuousClock.now

    @Test("a placement is settled when the engine has taken it up, or is not in the middle of a step")
    func settled() {
        func routes(_ epoch: UInt64) -> Routes { Routes(Placement(epoch: epoch, shape: FakeModel.shape), links: []) }
        let board = PlacementBoard(routes(0))
        func isSettled(after time: Duration) -> Bool {
            board.isSettled(at: start + time, idle: .seconds(1))
        }
        func compute(layer: Int) {
            board.beginRun()
            [ExpertAssignment(row: 0, expert: 0, slot: 0)].withUnsafeBufferPointer { board.count($0, layer: layer) }
            #expect(!isSettled(after: .seconds(1000)))
            board.endRun(at: start)
        }
        board.publish(routes(1))
        #expect(isSettled(after: .zero), "nothing was ever computed")
        compute(layer: 0)
        #expect(!isSettled(after: .seconds(30)), "the step may be drawn out")
        #expect(isSettled(after: .seconds(60)), "it was given up")
        compute(layer: FakeModel.shape.layers - 1)
        #expect(!isSettled(after: .milliseconds(999)) && isSettled(after: .seconds(1)))
        #expect(board.adopt().epoch == 1 && isSettled(after: .zero))
    }
}
