// AVX-512 with BF16 and VBMI: the products whose dot products, and whose decoding, those extensions have. All else is plain
// AVX-512's.
#if defined(__x86_64__)
#include "kernels_internal.h"
#include <immintrin.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,prfchw,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,avx512bf16"))), apply_to = function)

#define BF16_ROWS 4
#define BF16_TOKENS 5
#define BF16_DIRECT_GROUPS 3
#define OWN_BF16_PAIRS

#define VBMI

#include "avx512_int8.h"

INLINE f32x16 add_pairs(f32x16 sums, u32x16 w, u32x16 x) {
    return (f32x16)_mm512_dpbf16_ps((__m512)sums, (__m512bh)w, (__m512bh)x);
}

/// How `mxfp4_pairs` takes the scales of sixteen blocks: by how much the exponents stay below those of the greatest
/// scale, in each half of a lane; or so much that nothing is left.
INLINE u32x16 prepared_scales(u32x16 scales) {
    u32x16 below = SHOAL_MXFP4_MOST_SCALE - __builtin_elementwise_min(scales, (u32x16)SHOAL_MXFP4_MOST_SCALE);
    below = scales < SHOAL_BF16_LEAST_SCALE ? (u32x16)0xffff : below << 7;
    return below | below << 16;
}

/// The weights of the block whose codes are at `codes`, by look-up among those of the greatest scale. A subtraction that
/// stops at zero scales them, and leaves zeros alone.
INLINE u32x16 mxfp4_pairs(const uint8_t *codes, uint32_t scale) {
    typedef uint16_t u16x32 __attribute__((ext_vector_type(32)));
    // Twice, because the look-up heeds five bits, and the fifth is of the next code.
    const u16x32 unscaled = {
        0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0,
        0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0,
    };
    const u16x32 weights = unscaled != 0 ? unscaled + (u16x32)((SHOAL_MXFP4_MOST_SCALE - 127) << 7) : (u16x32)0;
    // Byte i of a quarter's four twice in 32 bits, of which the upper half is shifted down to the odd column's code.
    const __m512i bytes = _mm512_set_epi32(
        0x800f800f, 0x800e800e, 0x800d800d, 0x800c800c, 0x800b800b, 0x800a800a, 0x80098009, 0x80088008, 0x80078007,
        0x80068006, 0x80058005, 0x80048004, 0x80038003, 0x80028002, 0x80018001, 0x80008000);
    __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)codes));
    __m512i indices = _mm512_srlv_epi16(_mm512_shuffle_epi8(all, bytes), _mm512_set1_epi32(4 << 16));
    __m512i greatest = _mm512_permutexvar_epi16(indices, (__m512i)weights);
    return (u32x16)_mm512_subs_epu16(greatest, _mm512_set1_epi32((int)scale));
}

#include "matmul_bf16.h"

#pragma clang attribute pop

SHOAL_PRODUCT(shoal_avx512_bf16_matmul_mxfp4_q8, shoal_mxfp4_matrix, shoal_q8_rows) {
    matmul_mxfp4_q8(w, x, row_begin, row_end, y, y_stride);
}
SHOAL_PRODUCT(shoal_avx512_bf16_matmul_mxfp4_bf16, shoal_mxfp4_matrix, shoal_bf16_rows) {
    matmul_mxfp4_bf16(w, x, row_begin, row_end, y, y_stride);
}
SHOAL_PRODUCT(shoal_avx512_bf16_matmul_bf16_bf16, shoal_bf16_matrix, shoal_bf16_rows) {
    matmul_bf16_bf16(w, x, row_begin, row_end, y, y_stride);
}
#endif
