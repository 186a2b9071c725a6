import Cluster
import Testing

@Suite("How many chunks are under way")
struct ChunkWindowTests {
    /// A link that brings one chunk after the other.
    struct Link {
        /// Milliseconds that a chunk takes, and that a question and its answer take besides.
        let chunk: Double, trip: Double
        /// Up to so many more, for every other answer.
        var jitter = 0.0
    }

    /// The sizes of the window and the shares of the time in which the link was busy, answer by answer, once the window has
    /// settled.
    private func run(_ link: Link, answers: Int = 4000) -> (sizes: [Int], busy: Double) {
        var generator = SystemRandomNumberGenerator()
        var window = ChunkWindow()
        var waiting: [(asked: Double, arrives: Double)] = []
        var (now, free, settled) = (0.0, 0.0, 0.0)
        var sizes: [Int] = []
        var asked = 0
        for answer in 0..<answers {
            while waiting.count < window.size {
                free = max(free, now + link.trip) + link.chunk
                let late = asked % 2 == 0 ? 0 : Double.random(in: 0...link.jitter, using: &generator)
                waiting.append((now, free + late))
                asked += 1
            }
            waiting.sort { $0.arrives > $1.arrives }
            guard let next = waiting.popLast() else { break }
            now = max(now, next.arrives)
            window.answered(after: .microseconds((now - next.asked) * 1000))
            if answer < answers / 2 { settled = now } else { sizes.append(window.size) }
        }
        return (sizes, Double(sizes.count) * link.chunk / (now - settled))
    }

    @Test("it grows as long as answers are swift, to its largest")
    func growth() {
        var window = ChunkWindow()
        #expect(window.size == ChunkWindow.sizes.lowerBound)
        for _ in 0..<200 { window.answered(after: .milliseconds(1)) }
        #expect(window.size == ChunkWindow.sizes.upperBound)
    }

    @Test("it shrinks when answers queue, to its smallest, and grows slowly afterwards")
    func queueing() {
        var window = ChunkWindow()
        for _ in 0..<200 { window.answered(after: .milliseconds(1)) }
        for _ in 0..<1000 { window.answered(after: .milliseconds(1) + ChunkWindow.queueing * 2) }
        #expect(window.size == ChunkWindow.sizes.lowerBound)
        for _ in 0..<18 { window.answered(after: .milliseconds(1)) }
        #expect(window.size == ChunkWindow.sizes.lowerBound + 1)
    }

    @Test("at 1 Gbit/s there is hardly more than what keeps the link busy")
    func narrow() {
        let (sizes, busy) = run(Link(chunk: 1.05, trip: 0.3))
        #expect(busy > 0.98)
        #expect(sizes.allSatisfy { (2...3).contains($0) })
        #expect(sizes.count { $0 == 2 } * 2 > sizes.count)
    }

    @Test("at 10 Gbit/s the window grows until the link is busy, and no further")
    func wide() {
        let (sizes, busy) = run(Link(chunk: 0.105, trip: 0.2))
        #expect(busy > 0.98)
        #expect(sizes.allSatisfy { (8...24).contains($0) })
    }

    @Test("a link that is long is filled, too")
    func long() {
        let (sizes, busy) = run(Link(chunk: 1.05, trip: 20))
        #expect(busy > 0.9)
        #expect(sizes.allSatisfy { (16...24).contains($0) })
    }

    @Test("answers of which some come late for other reasons do not make it shrink")
    func jitter() {
        let (_, busy) = run(Link(chunk: 0.105, trip: 0.2, jitter: 6))
        #expect(busy > 0.8)
    }
}
