// What the variants share with the scalar reference.
#ifndef SHOAL_KERNELS_INTERNAL_H
#define SHOAL_KERNELS_INTERNAL_H

#include "Kernels.h"
#include <string.h>

#pragma STDC FP_CONTRACT OFF

static inline float shoal_float_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline uint32_t shoal_bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float shoal_bf16(uint16_t x) { return shoal_float_from_bits((uint32_t)x << 16); }

/// 2^(scale - 128), the factor of a doubled E2M1 code. Scale 0 gives the subnormal 2^-128.
static inline float shoal_mxfp4_half_scale(uint8_t scale) {
    return shoal_float_from_bits(scale >= 2 ? (uint32_t)(scale - 1) << 23 : 0x00200000u << scale);
}

/// Greater scales count as this one beside int8 rows: so great that no sum of products overflows on its way.
#define SHOAL_MXFP4_MOST_SCALE 232

/// The bits of 2^-56: smaller factors of bfloat16 products count as zero. Then every product is a multiple of 2^-126, the
/// smallest normal number, and so is every sum: how an instruction set treats smaller ones does not matter.
#define SHOAL_BF16_LEAST 0x2380
/// The MXFP4 scale whose smallest product with a code, 1/2, is that number.
#define SHOAL_BF16_LEAST_SCALE 72

/// E2M1 codes, doubled so that they are integers.
static const int8_t shoal_e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// The table of a file that defines every kernel as a static function of the same name; those products may be others that
/// some extension computes faster.
#define SHOAL_KERNELS(isa_value, name_value, mxfp4_q8, q8_q8, q8_q16, mxfp4_bf16, bf16_bf16)                          \
    {                                                                                                                 \
        .isa = isa_value, .name = name_value, .quantize_q8 = quantize_q8, .quantize_q16 = quantize_q16,               \
        .quantize_bf16 = quantize_bf16, .matmul_mxfp4_q8 = mxfp4_q8, .matmul_q8_q8 = q8_q8,                           \
        .matmul_q8_q16 = q8_q16, .matmul_mxfp4_bf16 = mxfp4_bf16, .matmul_bf16_bf16 = bf16_bf16,                      \
        .matmul_mxfp4_f32 = matmul_mxfp4_f32, .matmul_bf16_f32 = matmul_bf16_f32,                                     \
        .rms_norm = rms_norm, .rope = rope, .attention = attention, .swiglu = swiglu, .combine_f32 = combine_f32,     \
        .combine_bf16 = combine_bf16, .f32_to_bf16 = f32_to_bf16, .bf16_to_f32 = bf16_to_f32,                         \
        .max_and_sum_exp = max_and_sum_exp, .exp_weights = exp_weights, .keep_weights = keep_weights,                 \
        .dequantize_mxfp4 = dequantize_mxfp4,                                                                         \
    }

/// The head of a function that multiplies rows of activations with a matrix.
#define SHOAL_PRODUCT(name, matrix, activations) \
    void name(                                   \
        const matrix *w, const activations *x, size_t row_begin, size_t row_end, float *y, size_t y_stride)

extern const shoal_kernels shoal_kernels_scalar;
#if defined(__x86_64__)
extern const shoal_kernels shoal_kernels_avx2;
extern const shoal_kernels shoal_kernels_avx_vnni;
extern const shoal_kernels shoal_kernels_avx512;
extern const shoal_kernels shoal_kernels_avx512_bf16;
SHOAL_PRODUCT(shoal_avx_vnni_matmul_mxfp4_q8, shoal_mxfp4_matrix, shoal_q8_rows);
SHOAL_PRODUCT(shoal_avx_vnni_matmul_q8_q8, shoal_q8_matrix, shoal_q8_rows);
SHOAL_PRODUCT(shoal_avx_vnni_matmul_q8_q16, shoal_q8_matrix, shoal_q16_rows);
SHOAL_PRODUCT(shoal_avx512_bf16_matmul_mxfp4_q8, shoal_mxfp4_matrix, shoal_q8_rows);
SHOAL_PRODUCT(shoal_avx512_bf16_matmul_mxfp4_bf16, shoal_mxfp4_matrix, shoal_bf16_rows);
SHOAL_PRODUCT(shoal_avx512_bf16_matmul_bf16_bf16, shoal_bf16_matrix, shoal_bf16_rows);
#elif defined(__aarch64__)
extern const shoal_kernels shoal_kernels_neon;
#endif

#endif
