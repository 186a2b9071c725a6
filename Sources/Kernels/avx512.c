// AVX-512 with VNNI: what is its own. All else is in the headers, compiled here for this instruction set.
#if defined(__x86_64__)
#include "kernels_internal.h"
#include <immintrin.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)

#define TOKENS 8
#define FEW_TOKENS 4
#define MXFP4_OFFSET 12
#define Q8_OFFSET 128
#define F32_ROWS 4
#define F32_TOKENS 4
#define ATTENTION_KEYS 8
#define ATTENTION_HEADS 4
#define ATTENTION_CHUNKS 4

#include "vectors.h"
#include "q8_slice.h"

INLINE __m512i load_lanes(const uint8_t *const rows[4 * 4], int first, size_t offset) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(rows[first] + offset)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[first + 4] + offset)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[first + 8] + offset)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[first + 12] + offset)), 3);
}

/// Word i of the sixteen bytes at `offset` of each of sixteen rows, in order of rows: a 4x4 transposition of 32-bit
/// words within each quarter.
INLINE void words_of_rows(const uint8_t *const rows[SHOAL_TILE_ROWS], size_t offset, u32x16 words[4]) {
    __m512i a = load_lanes(rows, 0, offset), b = load_lanes(rows, 1, offset);
    __m512i c = load_lanes(rows, 2, offset), d = load_lanes(rows, 3, offset);
    __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    __m512i ab_high = _mm512_unpackhi_epi32(a, b), cd_high = _mm512_unpackhi_epi32(c, d);
    words[0] = (u32x16)_mm512_unpacklo_epi64(ab, cd);
    words[1] = (u32x16)_mm512_unpackhi_epi64(ab, cd);
    words[2] = (u32x16)_mm512_unpacklo_epi64(ab_high, cd_high);
    words[3] = (u32x16)_mm512_unpackhi_epi64(ab_high, cd_high);
}

/// The block at `offset` of each of sixteen rows, as doubled values plus 12: [8][16 rows][4 columns], even columns
/// first.
INLINE void decode_mxfp4_block(const uint8_t *const rows[SHOAL_TILE_ROWS], size_t offset, uint8_t *values) {
    const __m512i lookup = _mm512_broadcast_i32x4(
        _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    const __m512i low = _mm512_set1_epi8(15);
    u32x16 words[4];
    words_of_rows(rows, offset, words);
    for (int i = 0; i < 4; i++) {
        __m512i even = _mm512_shuffle_epi8(lookup, _mm512_and_si512((__m512i)words[i], low));
        __m512i odd = _mm512_shuffle_epi8(lookup, _mm512_and_si512(_mm512_srli_epi16((__m512i)words[i], 4), low));
        _mm512_store_si512(values + i * 64, even);
        _mm512_store_si512(values + (i + 4) * 64, odd);
    }
}

/// Columns 4 i to 4 i + 3 of a block, for all sixteen rows.
INLINE __m512i four_columns(const int8_t *block, int i) {
    int32_t four;
    memcpy(&four, block + i * 4, sizeof four);
    return _mm512_set1_epi32(four);
}

/// sums[t] += the products of `tokens` tokens with a tile over `blocks` blocks, the first of them at index `at` of x.
/// Meanwhile the bytes `prefetch_distance` behind are fetched, unless that is 0.
INLINE void q8_products(
    product_kind kind, int tokens, const uint8_t *values, size_t prefetch_distance, const float *scales,
    const q8_slice *x, size_t at, size_t blocks, f32x16 *sums) {
    for (size_t b = 0; b < blocks; b++) {
        prefetch_tile_block(values + b * 512, prefetch_distance);
        size_t first = at + b * x->stride;
        __m512i dots[TOKENS], high[TOKENS];
        for (int t = 0; t < tokens; t++) {
            dots[t] = _mm512_set1_epi32(x->offsets[first + (size_t)t]);
            high[t] = _mm512_setzero_si512();
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < 8; i++) {
            __m512i w = _mm512_loadu_si512(values + (b * 8 + (size_t)i) * 64);
            for (int t = 0; t < tokens; t++) {
                __m512i u = four_columns(x->values[first + (size_t)t], i);
                if (kind == Q8_BY_16) {
                    high[t] = _mm512_dpbusd_epi32(high[t], w, u);
                    u = four_columns(x->low[first + (size_t)t], i);
                }
                dots[t] = _mm512_dpbusd_epi32(dots[t], w, u);
            }
        }
        f32x16 scale = load(scales + b * LANES, LANES);
        for (int t = 0; t < tokens; t++) {
            if (kind == Q8_BY_16) dots[t] = (__m512i)((i32x16)dots[t] + (i32x16)high[t] * 255);
            sums[t] = fma16(_mm512_cvtepi32_ps(dots[t]), x->scales[first + (size_t)t] * scale, sums[t]);
        }
    }
}

/// The MXFP4 values, doubled, of the codes in the lowest four bits of each lane.
INLINE f32x16 e2m1_doubled(u32x16 codes) {
    const f32x16 values = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};
    return _mm512_permutexvar_ps((__m512i)codes, values);
}

#include "attention.h"
#include "elementwise.h"
#include "matmul_f32.h"
#include "matmul_q8.h"

#pragma clang attribute pop

const shoal_kernels shoal_kernels_avx512 = SHOAL_KERNELS(SHOAL_ISA_AVX512_VNNI, "avx512");
#endif
