// AVX2 with FMA: what is its own. All else is in the headers, compiled here for this instruction set.
#if defined(__x86_64__)
#include "kernels_internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,prfchw"))), apply_to = function)

#define BF16_ROWS 2
#define BF16_TOKENS 2
#define BF16_DIRECT_GROUPS 1
#define F32_ROWS 2
#define F32_TOKENS 2
#define ATTENTION_SCORES 4
#define ATTENTION_SCORE_HEADS 4
#define ATTENTION_HEADS 2
#define ATTENTION_CHUNKS 2

#include "avx2_int8.h"

/// The MXFP4 values, doubled, of the codes in the lowest four bits of each lane.
INLINE f32x16 e2m1_doubled(u32x16 codes) {
    const __m256 magnitudes = _mm256_setr_ps(0, 1, 2, 3, 4, 6, 8, 12);
    u32x16 signs = (codes & 8) << 28;
    f32x16 v;
    v.lo = _mm256_permutevar8x32_ps(magnitudes, (__m256i)codes.lo);
    v.hi = _mm256_permutevar8x32_ps(magnitudes, (__m256i)codes.hi);
    return from_bits(bits_of(v) | signs);
}

#include "attention.h"
#include "elementwise.h"
#include "matmul_bf16.h"
#include "matmul_f32.h"

#pragma clang attribute pop

const shoal_kernels shoal_kernels_avx2 = SHOAL_KERNELS(
    SHOAL_ISA_AVX2, "avx2", matmul_mxfp4_q8, matmul_q8_q8, matmul_q8_q16, matmul_mxfp4_bf16, matmul_bf16_bf16);
const shoal_kernels shoal_kernels_avx_vnni = SHOAL_KERNELS(
    SHOAL_ISA_AVX_VNNI, "avxvnni", shoal_avx_vnni_matmul_mxfp4_q8, shoal_avx_vnni_matmul_q8_q8,
    shoal_avx_vnni_matmul_q8_q16, matmul_mxfp4_bf16, matmul_bf16_bf16);
#endif
