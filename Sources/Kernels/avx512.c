// AVX-512 with VNNI: what is its own. All else is in the headers, compiled here for this instruction set.
#if defined(__x86_64__)
#include "kernels_internal.h"
#include <immintrin.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,prfchw,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)

#define BF16_ROWS 4
#define BF16_TOKENS 4
#define BF16_DIRECT_GROUPS 1
#define F32_ROWS 4
#define F32_TOKENS 4
#define ATTENTION_SCORES 16
#define ATTENTION_SCORE_HEADS 8
#define ATTENTION_HEADS 8
#define ATTENTION_CHUNKS 2

#include "avx512_int8.h"

/// The MXFP4 values, doubled, of the codes in the lowest four bits of each lane.
INLINE f32x16 e2m1_doubled(u32x16 codes) {
    const f32x16 values = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};
    return _mm512_permutexvar_ps((__m512i)codes, values);
}

#include "attention.h"
#include "elementwise.h"
#include "matmul_bf16.h"
#include "matmul_f32.h"

#pragma clang attribute pop

const shoal_kernels shoal_kernels_avx512 = SHOAL_KERNELS(
    SHOAL_ISA_AVX512_VNNI, "avx512", matmul_mxfp4_q8, matmul_q8_q8, matmul_q8_q16, matmul_mxfp4_bf16, matmul_bf16_bf16);
const shoal_kernels shoal_kernels_avx512_bf16 = SHOAL_KERNELS(
    SHOAL_ISA_AVX512_BF16, "avx512bf16", shoal_avx512_bf16_matmul_mxfp4_q8, matmul_q8_q8, matmul_q8_q16,
    shoal_avx512_bf16_matmul_mxfp4_bf16, shoal_avx512_bf16_matmul_bf16_bf16);
#endif
