import Foundation
import JSON
import Kernels
import TestSupport
import Testing

@Suite("MXFP4 fixtures")
struct MXFP4FixtureTests {
    static let fixture = Result { try Fixtures.json(Fixtures.root.appending(path: "mxfp4/mxfp4.json")) }

    private func decoded(_ hex: JSONValue?) throws -> [UInt8] {
        let digits = Array(try #require(hex?.string).utf8)
        return try stride(from: 0, to: digits.count, by: 2).map {
            try #require(UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16))
        }
    }

    private func floats(_ hex: JSONValue?) throws -> [Float] {
        let bytes = try decoded(hex)
        return bytes.withUnsafeBytes { raw in
            (0..<bytes.count / 4).map {
                Float(bitPattern: raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self).littleEndian)
            }
        }
    }

    @Test("decode to the same bits", arguments: Variant.all)
    func dequantize(variant: Variant) throws {
        let cases = try #require(Self.fixture.get()["cases"]?.array)
        #expect(!cases.isEmpty)
        for entry in cases {
            let blocks = GuardedBuffer(try decoded(entry["blocks"]))
            let scales = GuardedBuffer(try decoded(entry["scales"]))
            let out = GuardedBuffer<Float>(repeating: 1, count: scales.count * 32)
            variant.kernels.dequantize_mxfp4(blocks.start, scales.start, scales.count, out.start)
            let expected = try floats(entry["expected_f32"])
            #expect(out.elements.map(\.bitPattern) == expected.map(\.bitPattern), "\(entry["id"]?.string ?? "?")")
        }
    }

    @Test("multiply as in double precision", arguments: Variant.all)
    func multiply(variant: Variant) throws {
        let fixture = try #require(Self.fixture.get()["matvec"])
        let rows = try #require(fixture["rows"]?.integer)
        let columns = try #require(fixture["K"]?.integer)
        let w = MXFP4Matrix(
            blocks: try decoded(fixture["blocks"]), scales: try decoded(fixture["scales"]), rows: rows,
            columns: columns)
        let x = F32Rows(try floats(fixture["x_f32"]), rows: 1, columns: columns)
        let y = GuardedBuffer<Float>(repeating: 0, count: rows)
        var (matrix, activations) = (w.c, x.c)
        variant.kernels.matmul_mxfp4_f32(&matrix, &activations, 0, rows, y.start, rows)
        let expected = try #require(fixture["y_f64"]?.array).map { try #require($0.double) }
        let magnitudes = try #require(fixture["abs_sum"]?.array).map { try #require($0.double) }
        for row in 0..<rows { #expect(abs(Double(y.start[row]) - expected[row]) <= 1e-6 * magnitudes[row]) }
    }
}
