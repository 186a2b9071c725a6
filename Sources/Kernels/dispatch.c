// Which variant runs: the fastest that this processor supports, or the one that SHOAL_ISA names.
#include "kernels_internal.h"
#include <stdlib.h>

#if defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
static int has_dot_products(void) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#elif defined(__APPLE__)
static int has_dot_products(void) { return 1; }  // since the first Mac of this architecture
#else
static int has_dot_products(void) { return 0; }
#endif
#endif

const shoal_kernels *shoal_kernels_for(shoal_isa isa) {
#if defined(__x86_64__)
    // These ask the operating system too, which must save the wide registers.
    // Prefetching for writing is not asked for: to processors without it that instruction does nothing.
    int has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                     __builtin_cpu_supports("avx512vnni");
    if (isa == SHOAL_ISA_AVX512_BF16 && has_avx512 && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bf16"))
        return &shoal_kernels_avx512_bf16;
    if (isa == SHOAL_ISA_AVX512_VNNI && has_avx512) return &shoal_kernels_avx512;
    if (isa == SHOAL_ISA_AVX_VNNI && has_avx2 && __builtin_cpu_supports("avxvnni")) return &shoal_kernels_avx_vnni;
    if (isa == SHOAL_ISA_AVX2 && has_avx2) return &shoal_kernels_avx2;
#elif defined(__aarch64__)
    if (isa == SHOAL_ISA_NEON && has_dot_products()) return &shoal_kernels_neon;
#endif
    return isa == SHOAL_ISA_SCALAR ? &shoal_kernels_scalar : NULL;
}

const shoal_kernels *shoal_kernels_named(const char *name) {
    for (int isa = SHOAL_ISA_COUNT - 1; isa >= 0; isa--) {
        const shoal_kernels *kernels = shoal_kernels_for((shoal_isa)isa);
        if (kernels && (!name || !*name || strcmp(name, kernels->name) == 0)) return kernels;
    }
    return NULL;
}

const shoal_kernels *shoal_kernels_selected(void) { return shoal_kernels_named(getenv("SHOAL_ISA")); }
