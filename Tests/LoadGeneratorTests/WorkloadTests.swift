import JSON
import LoadGenerator
import Testing

@Suite("Workload")
struct WorkloadTests {
    private func drawn(_ text: String, count: Int = 20_000) throws -> [Int] {
        let distribution = try LengthDistribution(text)
        #expect(try LengthDistribution("\(distribution)") == distribution, "the description reads back")
        var random = SeededRandom(7)
        return (0..<count).map { _ in distribution.sample(&random) }
    }

    @Test("lengths follow the distribution that was named")
    func distributions() throws {
        #expect(Set(try drawn("128")) == [128])
        let uniform = try drawn("uniform:3-6")
        for length in 3...6 { #expect(abs(uniform.count { $0 == length } - 5000) < 300) }
        #expect(Set(uniform) == [3, 4, 5, 6])
        let normal = try drawn("normal:100,10").map(Double.init)
        let mean = normal.reduce(0, +) / 20_000
        #expect(abs(mean - 100) < 0.3)
        #expect(abs(normal.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / 20_000 - 100) < 5)
        let logNormal = try drawn("lognormal:200,0.8").sorted()
        #expect(abs(logNormal[10_000] - 200) < 6)
        #expect(abs(logNormal[16_827] - 445) < 25, "one sigma above: 200 e^0.8")
    }

    @Test("a length is at least 1 and bounded, whatever the tails")
    func bounds() throws {
        #expect(try drawn("normal:1,1000").allSatisfy { (1...LengthDistribution.maximum).contains($0) })
        #expect(try drawn("lognormal:1000,1000000").allSatisfy { (1...LengthDistribution.maximum).contains($0) })
    }

    @Test(
        "what is no distribution is refused",
        arguments: [
            "", "0", "-1", "x", "1.5", "uniform:", "uniform:5-3", "uniform:0-3", "normal:1", "normal:1,-2",
            "normal:nan,1", "lognormal:0,1", "lognormal:1,inf", "beta:1,2", "99999999999999999999",
            "uniform:1-99999999",
        ])
    func refusals(_ text: String) {
        #expect(throws: LoadError.self) { try LengthDistribution(text) }
    }

    @Test("the same seed gives the same requests, in any order; another seed others")
    func reproducible() {
        var workload = Workload(seed: 3)
        workload.inputTokens = .uniform(10...50)
        let forward = (0..<20).map { workload.request($0, phase: 1) }
        let backward = (0..<20).reversed().map { workload.request($0, phase: 1) }
        #expect(forward == backward.reversed())
        workload.seed = 4
        #expect(workload.request(0, phase: 1) != forward[0])
    }

    @Test("a workload is the same on every machine")
    func golden() {
        var workload = Workload(seed: 1)
        workload.inputTokens = .uniform(1...1000)
        workload.tokenRange = 0...999
        let request = workload.request(0, phase: 0)
        #expect(request.prompt.count == 101)
        #expect(request.prompt.prefix(3) == [845, 781, 464])
    }

    @Test("another phase has the same lengths and other tokens")
    func phases() {
        var workload = Workload(seed: 3)
        workload.inputTokens = .uniform(10...50)
        for index in 0..<20 {
            let (first, second) = (workload.request(index, phase: 1), workload.request(index, phase: 2))
            #expect(first.prompt.count == second.prompt.count && first.outputTokens == second.outputTokens)
            #expect(first.prompt != second.prompt)
        }
    }

    @Test("prompts share what they are to share, and no more")
    func sharedPrefixes() {
        var workload = Workload(seed: 3)
        workload.inputTokens = .constant(100)
        workload.sharedPrefix = .tokens(60)
        let prompts = (0..<50).map { workload.request($0, phase: $0 % 2).prompt }
        #expect(Set(prompts.map { $0.prefix(60) }).count == 1)
        #expect(Set(prompts.map { $0[60..<64] }).count == 50)
        workload.prefixes = 3
        #expect(Set((0..<50).map { workload.request($0, phase: 0).prompt.prefix(60) }).count == 3)
        workload.prefixes = 1
        workload.inputTokens = .uniform(10...100)
        workload.sharedPrefix = .fraction(0.5)
        let (a, b) = (workload.request(0, phase: 0).prompt, workload.request(1, phase: 0).prompt)
        let shared = min(a.count, b.count) / 2
        #expect(a.prefix(shared) == b.prefix(shared))
    }

    @Test("so many requests are cancelled as was asked")
    func cancellations() {
        var workload = Workload(seed: 3)
        workload.inputTokens = .constant(1)
        #expect((0..<100).allSatisfy { workload.request($0, phase: 0).cancellation == nil })
        workload.cancelledShare = 0.25
        let cancelled = (0..<2000).compactMap { workload.request($0, phase: 0).cancellation }
        #expect(abs(cancelled.count - 500) < 80)
        for case .afterChunks(let count) in cancelled { #expect((1...64).contains(count)) }
    }

    @Test("Poisson arrivals come at the rate, in order, with exponential gaps")
    func arrivals() throws {
        var arrivals = PoissonArrivals(rate: 50, seed: 1)
        let times = (0..<20_000).compactMap { _ in arrivals.next() }
        let gaps = zip(times.dropFirst(), times).map { $0 - $1 }
        #expect(gaps.allSatisfy { $0 >= 0 })
        #expect(abs(try #require(times.last) - 400) < 12)
        // The share of gaps above the mean is 1/e.
        #expect(abs(Double(gaps.count { $0 > 0.02 }) / Double(gaps.count) - 0.3679) < 0.015)
    }

    @Test("a request says what it is to say, and nothing else")
    func body() throws {
        var template = RequestTemplate(endpoint: .completions, model: "m")
        var request = Workload(seed: 1).request(0, phase: 0)
        (request.prompt, request.outputTokens) = ([5, 6], 7)
        #expect(
            template.body(request, index: 2).serialized
                == #"{"model":"m","prompt":[5,6],"max_tokens":7,"temperature":0.0,"stream":true,"#
                + #""stream_options":{"include_usage":true}}"#)
        template.requestSeed = 10
        template.ignoresEndOfSequence = true
        let extended = template.body(request, index: 2)
        #expect(extended["seed"]?.integer == 12 && extended["ignore_eos"]?.bool == true)
        template.endpoint = .chat
        let words = template.body(request, index: 0)["messages"]?.array?.first?["content"]?.string
        #expect(try #require(words).split(separator: " ").count == 2)
    }
}
