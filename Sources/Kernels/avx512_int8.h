// The int8 products of AVX-512 with VNNI. The including file defines VBMI where it may use that: its look-up heeds six bits of
// a byte, and a table that repeats itself makes two of them meaningless, so that codes need no masking.
#ifndef SHOAL_AVX512_INT8_H
#define SHOAL_AVX512_INT8_H

#define TOKENS 8
// Whose sums, and those of their dot products, fit the registers.
#define TOKENS_AT_ONCE(kind, tiles) ((tiles) == 1 ? TOKENS : (kind) == Q8_BY_16 ? 4 : 6)
#define PAIRED_TOKENS 16
#define DECODES_AHEAD 1
#define FEW_TOKENS 7
#ifdef VBMI
#define FEW_TRANSPOSED 3
#else
#define FEW_TRANSPOSED 4
#endif
#define MXFP4_OFFSET 12
#define MXFP4_X_OFFSET 128
#define Q8_OFFSET 128

#include "vectors.h"
#include "q8_slice.h"

/// The even and the odd columns of the blocks in 64 bytes, as doubled values plus `offset`.
INLINE void decode_mxfp4_bytes(int offset, u8x64 codes, u8x64 *even, u8x64 *odd) {
    const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const __m512i lookup = _mm512_broadcast_i32x4(_mm_add_epi8(doubled, _mm_set1_epi8((char)offset)));
    __m512i low = (__m512i)codes, high = _mm512_srli_epi16(low, 4);
#ifdef VBMI
    *even = (u8x64)_mm512_permutexvar_epi8(low, lookup);
    *odd = (u8x64)_mm512_permutexvar_epi8(high, lookup);
#else
    const __m512i four_bits = _mm512_set1_epi8(15);
    *even = (u8x64)_mm512_shuffle_epi8(lookup, _mm512_and_si512(low, four_bits));
    *odd = (u8x64)_mm512_shuffle_epi8(lookup, _mm512_and_si512(high, four_bits));
#endif
}

INLINE __m512i load_lanes(const uint8_t *const rows[4 * 4], int first, size_t offset) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(rows[first] + offset)));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128((const __m128i *)(rows[first + 4] + offset)));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128((const __m128i *)(rows[first + 8] + offset)));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128((const __m128i *)(rows[first + 12] + offset)));
}

/// Sixteen rows of four words, in the order 0, 4, 8, 12, 1, 5 and so on, transposed: vector i of the result has word i of each
/// row, in order.
INLINE void transpose_words(const i32x16 rows[4], i32x16 words[4]) {
    __m512i a = (__m512i)rows[0], b = (__m512i)rows[1], c = (__m512i)rows[2], d = (__m512i)rows[3];
    __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    __m512i ab_high = _mm512_unpackhi_epi32(a, b), cd_high = _mm512_unpackhi_epi32(c, d);
    words[0] = (i32x16)_mm512_unpacklo_epi64(ab, cd);
    words[1] = (i32x16)_mm512_unpackhi_epi64(ab, cd);
    words[2] = (i32x16)_mm512_unpacklo_epi64(ab_high, cd_high);
    words[3] = (i32x16)_mm512_unpackhi_epi64(ab_high, cd_high);
}

/// Word i of the sixteen bytes at `offset` of each of sixteen rows, in order of rows.
INLINE void words_of_rows(const uint8_t *const rows[SHOAL_TILE_ROWS], size_t offset, i32x16 words[4]) {
    i32x16 fours[4];
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++) fours[i] = (i32x16)load_lanes(rows, i, offset);
    transpose_words(fours, words);
}

/// Adds to the sums the dot products of four neighbouring bytes each, of decoded weights and activations.
INLINE i32x16 add_dots(i32x16 sums, u8x64 even, i8x64 x_even, u8x64 odd, i8x64 x_odd) {
    __m512i dots = _mm512_dpbusd_epi32((__m512i)sums, (__m512i)even, (__m512i)x_even);
    return (i32x16)_mm512_dpbusd_epi32(dots, (__m512i)odd, (__m512i)x_odd);
}

/// Columns 4 i to 4 i + 3 of a block, for all sixteen rows.
INLINE __m512i four_columns(const int8_t *block, int i) {
    int32_t four;
    memcpy(&four, block + i * 4, sizeof four);
    return _mm512_set1_epi32(four);
}

/// Adds the products of weights and four activations that the instruction itself loads: one instruction less, one load
/// more where another tile wants them too.
INLINE __m512i dot_loading(__m512i sums, __m512i w, const int8_t *four) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(w), "m"(*(const int8_t(*)[4])four));
    return sums;
}

/// Of decoded weights the activations are the unsigned ones, else the weights.
INLINE __m512i dot(product_kind kind, __m512i sums, __m512i w, __m512i x) {
    return kind == MXFP4_BY_8 ? _mm512_dpbusd_epi32(sums, x, w) : _mm512_dpbusd_epi32(sums, w, x);
}

/// sums += a * b, in their register: the compiler would add in a's, and each time copy all sums back to where they were.
INLINE void add_product(f32x16 *sums, f32x16 a, f32x16 b) {
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sums) : "v"(a), "v"(b));
}

#include "mxfp4_decode.h"

/// sums[tile * tokens + t] += the products of `tokens` tokens with the tiles over `blocks` blocks, the first of them at
/// index `at` of x.
INLINE void q8_products(
    product_kind kind, int tiles, int tokens, const tile_blocks *w, const q8_slice *x, size_t at, size_t blocks,
    f32x16 *sums) {
    // Pointers, where indices would be computed anew for most of the columns.
    const uint8_t *values = w->values;
    uintptr_t ahead = w->ahead;
    const float *w_scales = w->scales, *starts = w->starts, *x_scales = x->scales + at;
    const int8_t(*x_values)[SHOAL_BLOCK] = x->values + at, (*x_low)[SHOAL_BLOCK] = x->low + at;
    const int32_t *offsets = x->offsets + at;
    size_t decodes = kind == MXFP4_BY_8 && w->next ? w->next->blocks : 0;
    f32x16 results[2 * TOKENS];
#pragma clang loop unroll(full)
    for (int j = 0; j < tiles * tokens; j++) results[j] = sums[j];
    for (size_t b = 0; b < blocks; b++) {
        ahead = prefetch_ahead(ahead, w->ahead_lines);
        f32x16 scales[2];
        for (int tile = 0; tile < tiles; tile++) scales[tile] = load(w_scales + (size_t)tile * w->scales_step, LANES);
        __m512i dots[2 * TOKENS], high[2 * TOKENS];
#pragma clang loop unroll(full)
        for (int j = 0; j < tiles * tokens; j++) {
            if (kind == MXFP4_BY_8)
                dots[j] = _mm512_loadu_si512(starts + (size_t)(j / tokens) * w->scales_step);
            else
                dots[j] = _mm512_set1_epi32(offsets[j % tokens]);
            high[j] = _mm512_setzero_si512();
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < 8; i++) {
            __m512i first = _mm512_loadu_si512(values + i * 64), second = first;
            if (tiles == 2) second = _mm512_loadu_si512(values + w->values_step + i * 64);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                __m512i four = four_columns(x_values[t], i);
                __m512i *whole = kind == Q8_BY_16 ? high : dots;
                whole[t] = dot(kind, whole[t], first, four);
                if (tiles == 2) whole[tokens + t] = dot(kind, whole[tokens + t], second, four);
                if (kind == Q8_BY_16) {
                    dots[t] = dot_loading(dots[t], first, x_low[t] + i * 4);
                    if (tiles == 2) dots[tokens + t] = dot_loading(dots[tokens + t], second, x_low[t] + i * 4);
                }
            }
        }
#pragma clang loop unroll(full)
        for (int j = 0; j < tiles * tokens; j++) {
            float x_scale = x_scales[j % tokens];
            f32x16 scale = scales[j / tokens];
            if (kind == Q8_BY_16) dots[j] = (__m512i)((i32x16)dots[j] + ((i32x16)high[j] << 8) - (i32x16)high[j]);
            if (kind == MXFP4_BY_8)
                add_product(&results[j], (f32x16)dots[j] - scale, splat(x_scale));
            else
                add_product(&results[j], _mm512_cvtepi32_ps(dots[j]), x_scale * scale);
        }
        // The loop around is unrolled for each number of tokens; this one need not be.
#pragma clang loop unroll(disable)
        for (size_t tile = 0; tile < 2 && b < decodes; tile++) mxfp4_tiles_decode(w->next, tile, b);
        values += SHOAL_TILE_ROWS * SHOAL_BLOCK;
        w_scales += LANES;
        if (kind == MXFP4_BY_8) starts += LANES;
        x_values += tokens, x_low += tokens, x_scales += tokens, offsets += tokens;
    }
#pragma clang loop unroll(full)
    for (int j = 0; j < tiles * tokens; j++) sums[j] = results[j];
}

#include "matmul_q8.h"

#endif
