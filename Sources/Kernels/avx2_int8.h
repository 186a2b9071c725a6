// The int8 products of AVX2, eight rows at a time. The including file defines VNNI where it may use that extension in its
// form for these registers: one instruction then multiplies four bytes with four, where others take three.
#ifndef SHOAL_AVX2_INT8_H
#define SHOAL_AVX2_INT8_H

#ifdef VNNI
#define TOKENS 6
// Whose sums, and those of their dot products, fit the registers.
#define TOKENS_AT_ONCE(kind, tiles) ((kind) == Q8_BY_16 ? 4 : TOKENS)
#define Q8_OFFSET 128
#else
#define TOKENS 4
#define TOKENS_AT_ONCE(kind, tiles) TOKENS
#define Q8_OFFSET 0
#endif
#define PAIRED_TOKENS SIZE_MAX
#define DECODES_AHEAD 0
#define FEW_TOKENS 2
#define MXFP4_OFFSET 12
#define MXFP4_X_OFFSET 128

#include "vectors.h"
#include "q8_slice.h"

INLINE __m256i load_lanes(const uint8_t *const rows[8], int first, size_t offset) {
    return _mm256_loadu2_m128i(
        (const __m128i *)(rows[first + 4] + offset), (const __m128i *)(rows[first] + offset));
}

/// Word i of the sixteen bytes at `offset` of each of sixteen rows, in order of rows: a 4x4 transposition of 32-bit
/// words within each half of eight rows.
INLINE void words_of_rows(const uint8_t *const rows[SHOAL_TILE_ROWS], size_t offset, i32x16 words[4]) {
    __m256i halves[4][2];
    for (int half = 0; half < 2; half++) {
        const uint8_t *const *eight = rows + half * 8;
        __m256i a = load_lanes(eight, 0, offset), b = load_lanes(eight, 1, offset);
        __m256i c = load_lanes(eight, 2, offset), d = load_lanes(eight, 3, offset);
        __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
        __m256i ab_high = _mm256_unpackhi_epi32(a, b), cd_high = _mm256_unpackhi_epi32(c, d);
        halves[0][half] = _mm256_unpacklo_epi64(ab, cd);
        halves[1][half] = _mm256_unpackhi_epi64(ab, cd);
        halves[2][half] = _mm256_unpacklo_epi64(ab_high, cd_high);
        halves[3][half] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    for (int i = 0; i < 4; i++) memcpy(&words[i], halves[i], sizeof words[i]);
}

/// The even and the odd columns of the blocks in 64 bytes, as doubled values plus `offset`.
INLINE void decode_mxfp4_bytes(int offset, u8x64 codes, u8x64 *even, u8x64 *odd) {
    const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const __m256i lookup = _mm256_broadcastsi128_si256(_mm_add_epi8(doubled, _mm_set1_epi8((char)offset)));
    const __m256i low = _mm256_set1_epi8(15);
    __m256i halves[2], even_halves[2], odd_halves[2];
    memcpy(halves, &codes, sizeof halves);
    for (int i = 0; i < 2; i++) {
        even_halves[i] = _mm256_shuffle_epi8(lookup, _mm256_and_si256(halves[i], low));
        odd_halves[i] = _mm256_shuffle_epi8(lookup, _mm256_and_si256(_mm256_srli_epi16(halves[i], 4), low));
    }
    memcpy(even, even_halves, sizeof even_halves);
    memcpy(odd, odd_halves, sizeof odd_halves);
}

/// Adds to the sums the dot products of four neighbouring bytes each, of decoded weights and activations, or of offsets and
/// sums of weights. Without VNNI maddubs adds pairs of products in 16 bits, which saturate; two pair sums are at most
/// 2 * 2 * 24 * 128 = 12,288 of the former, and 2 * 2 * 128 * 48 = 24,576 of the latter.
INLINE i32x16 add_dots(i32x16 sums, u8x64 even, i8x64 x_even, u8x64 odd, i8x64 x_odd) {
    __m256i total[2], w[2][2], x[2][2];
    memcpy(total, &sums, sizeof total);
    memcpy(w[0], &even, sizeof w[0]), memcpy(w[1], &odd, sizeof w[1]);
    memcpy(x[0], &x_even, sizeof x[0]), memcpy(x[1], &x_odd, sizeof x[1]);
    for (int i = 0; i < 2; i++) {
#ifdef VNNI
        total[i] = _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(total[i], w[0][i], x[0][i]), w[1][i], x[1][i]);
#else
        __m256i pairs =
            _mm256_add_epi16(_mm256_maddubs_epi16(w[0][i], x[0][i]), _mm256_maddubs_epi16(w[1][i], x[1][i]));
        total[i] = _mm256_add_epi32(total[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
    }
    memcpy(&sums, total, sizeof sums);
    return sums;
}

#ifdef VNNI
/// The dot products of one block, eight rows and `tokens` tokens: of decoded weights the activations are the unsigned ones,
/// else the weights.
INLINE void dots_of_eight(
    product_kind kind, int tokens, const uint8_t *values, const int8_t (*x)[SHOAL_BLOCK], __m256i *dots) {
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; i++) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(values + i * 64));
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) {
            int32_t four;
            memcpy(&four, x[t] + i * 4, sizeof four);
            __m256i u = _mm256_set1_epi32(four);
            dots[t] = kind == MXFP4_BY_8 ? _mm256_dpbusd_avx_epi32(dots[t], u, w) : _mm256_dpbusd_avx_epi32(dots[t], w, u);
        }
    }
}
#else
/// The dot products of one block, eight rows and `tokens` tokens. maddubs adds pairs of products in 16 bits, which
/// saturate, so: MXFP4 weights are at most 12, and four pair sums are at most 4 * 2 * 12 * 255 = 24,480; int8 weights
/// enter as magnitudes, their signs moved to the activations, and one pair sum is at most 2 * 128 * 127 = 32,512.
INLINE void dots_of_eight(
    product_kind kind, int tokens, const uint8_t *values, const int8_t (*x)[SHOAL_BLOCK], __m256i *dots) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int half = 0; half < 2; half++) {
        __m256i pairs[TOKENS];
        for (int i = half * 4; i < half * 4 + 4; i++) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(values + i * 64));
            if (kind != MXFP4_BY_8) w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
            __m256i magnitude = _mm256_abs_epi8(w);
            for (int t = 0; t < tokens; t++) {
                int32_t four;
                memcpy(&four, x[t] + i * 4, sizeof four);
                __m256i u = _mm256_set1_epi32(four);
                if (kind != MXFP4_BY_8) {
                    __m256i sums = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(u, w));
                    dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(sums, ones));
                } else {
                    __m256i sums = _mm256_maddubs_epi16(u, w);
                    pairs[t] = i == half * 4 ? sums : _mm256_add_epi16(pairs[t], sums);
                }
            }
        }
        if (kind == MXFP4_BY_8)
            for (int t = 0; t < tokens; t++)
                dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(pairs[t], ones));
    }
}
#endif

/// sums[tile * tokens + t] += the products of `tokens` tokens with the tiles over `blocks` blocks, the first of them at
/// index `at` of x.
INLINE void q8_products(
    product_kind kind, int tiles, int tokens, const tile_blocks *w, const q8_slice *x, size_t at, size_t blocks,
    f32x16 *sums) {
    uintptr_t ahead = w->ahead;
    // Eight rows after the other eight: more at once would not fit the registers.
    for (size_t half = 0; half < 2 * (size_t)tiles; half++) {
        const uint8_t *values = w->values + half / 2 * w->values_step + half % 2 * 32;
        const float *scales = w->scales + half / 2 * w->scales_step + half % 2 * 8;
        const float *starts = kind == MXFP4_BY_8 ? w->starts + half / 2 * w->scales_step + half % 2 * 8 : NULL;
        f32x16 *rows = sums + half / 2 * (size_t)tokens;
        __m256 eight[TOKENS];
        for (int t = 0; t < tokens; t++) eight[t] = half % 2 ? rows[t].hi : rows[t].lo;
        for (size_t b = 0; b < blocks; b++) {
            size_t first = at + b * (size_t)tokens;
            const uint8_t *block = values + b * SHOAL_TILE_ROWS * SHOAL_BLOCK;
            if (half == 0) ahead = prefetch_ahead(ahead, w->ahead_lines);
            __m256i dots[TOKENS];
            __m256 scale = _mm256_loadu_ps(scales + b * LANES);
            for (int t = 0; t < tokens; t++) {
                if (kind == MXFP4_BY_8)
                    dots[t] = _mm256_loadu_si256((const __m256i *)(starts + b * LANES));
                else
                    dots[t] = _mm256_set1_epi32(x->offsets[first + (size_t)t]);
            }
            if (kind == Q8_BY_16) {
                __m256i high[TOKENS];
                for (int t = 0; t < tokens; t++) high[t] = _mm256_setzero_si256();
                dots_of_eight(kind, tokens, block, x->values + first, high);
                for (int t = 0; t < tokens; t++)
                    dots[t] = _mm256_add_epi32(dots[t], _mm256_sub_epi32(_mm256_slli_epi32(high[t], 8), high[t]));
            }
            dots_of_eight(kind, tokens, block, (kind == Q8_BY_16 ? x->low : x->values) + first, dots);
            for (int t = 0; t < tokens; t++) {
                __m256 x_scale = _mm256_set1_ps(x->scales[first + (size_t)t]);
                if (kind == MXFP4_BY_8)
                    eight[t] = _mm256_fmadd_ps(_mm256_sub_ps(_mm256_castsi256_ps(dots[t]), scale), x_scale, eight[t]);
                else
                    eight[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[t]), _mm256_mul_ps(x_scale, scale), eight[t]);
            }
        }
        for (int t = 0; t < tokens; t++) {
            if (half % 2)
                rows[t].hi = eight[t];
            else
                rows[t].lo = eight[t];
        }
    }
}

#include "matmul_q8.h"

#endif
