import Kernels
import Testing

@Suite("The choice of kernels")
struct DispatchTests {
    @Test("the fastest by default, the named one on request, none for a name that is unknown")
    func selection() {
        for unnamed in [nil, ""] { #expect(shoal_kernels_named(unnamed)?.pointee.isa == Variant.all.last?.isa) }
        for variant in Variant.all {
            #expect(shoal_kernels_named(variant.testDescription)?.pointee.isa == variant.isa)
        }
        #expect(shoal_kernels_named("abacus") == nil)
    }
}
