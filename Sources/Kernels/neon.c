// NEON with the dot products of Armv8.2: what is its own. All else is in the headers, compiled here for it. sdot
// multiplies signed bytes, so that no weight needs an offset, and it takes four bytes of one operand from any lane, so
// that sixteen columns of a token are loaded at once and serve four times.
#if defined(__aarch64__)
#include "kernels_internal.h"
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

#define TOKENS 4
#define TOKENS_AT_ONCE(kind, tiles) TOKENS
#define PAIRED_TOKENS SIZE_MAX
#define DECODES_AHEAD 0
#define FEW_TOKENS 2
#define MXFP4_OFFSET 0
#define MXFP4_X_OFFSET 0
#define Q8_OFFSET 0
#define BF16_ROWS 2
#define BF16_TOKENS 2
#define BF16_DIRECT_GROUPS 1
#define F32_ROWS 2
#define F32_TOKENS 2
#define ATTENTION_SCORES 4
#define ATTENTION_SCORE_HEADS 4
#define ATTENTION_HEADS 4
#define ATTENTION_CHUNKS 1
#define OWN_ADD_PARTS

#include "vectors.h"
#include "q8_slice.h"

#define QUARTERS 4  // registers in a vector of 64 bytes

typedef int32_t i32x4 __attribute__((ext_vector_type(4)));

/// Word i of the sixteen bytes at `offset` of each of sixteen rows, in order of rows: a 4x4 transposition of 32-bit
/// words within each quarter.
INLINE void words_of_rows(const uint8_t *const rows[SHOAL_TILE_ROWS], size_t offset, i32x16 words[4]) {
    uint64x2_t quarters[4][QUARTERS];
    for (int q = 0; q < QUARTERS; q++) {
        uint32x4_t v[4];
        for (int r = 0; r < 4; r++) v[r] = vreinterpretq_u32_u8(vld1q_u8(rows[q * 4 + r] + offset));
        uint64x2_t ab = vreinterpretq_u64_u32(vzip1q_u32(v[0], v[1]));
        uint64x2_t cd = vreinterpretq_u64_u32(vzip1q_u32(v[2], v[3]));
        uint64x2_t ab_high = vreinterpretq_u64_u32(vzip2q_u32(v[0], v[1]));
        uint64x2_t cd_high = vreinterpretq_u64_u32(vzip2q_u32(v[2], v[3]));
        quarters[0][q] = vzip1q_u64(ab, cd);
        quarters[1][q] = vzip2q_u64(ab, cd);
        quarters[2][q] = vzip1q_u64(ab_high, cd_high);
        quarters[3][q] = vzip2q_u64(ab_high, cd_high);
    }
    for (int i = 0; i < 4; i++) memcpy(&words[i], quarters[i], sizeof words[i]);
}

/// The even and the odd columns of the blocks in 64 bytes, as doubled values; the offset is none.
INLINE void decode_mxfp4_bytes(int offset, u8x64 codes, u8x64 *even, u8x64 *odd) {
    (void)offset;
    const int8x16_t lookup = vld1q_s8(shoal_e2m1_doubled);
    uint8x16_t quarters[QUARTERS];
    int8x16_t even_quarters[QUARTERS], odd_quarters[QUARTERS];
    memcpy(quarters, &codes, sizeof quarters);
    for (int q = 0; q < QUARTERS; q++) {
        even_quarters[q] = vqtbl1q_s8(lookup, vandq_u8(quarters[q], vdupq_n_u8(15)));
        odd_quarters[q] = vqtbl1q_s8(lookup, vshrq_n_u8(quarters[q], 4));
    }
    memcpy(even, even_quarters, sizeof even_quarters);
    memcpy(odd, odd_quarters, sizeof odd_quarters);
}

/// Adds to the sums the dot products of four neighbouring bytes each, of decoded weights and activations.
INLINE i32x16 add_dots(i32x16 sums, u8x64 even, i8x64 x_even, u8x64 odd, i8x64 x_odd) {
    int32x4_t total[QUARTERS];
    int8x16_t w[2][QUARTERS], x[2][QUARTERS];
    memcpy(total, &sums, sizeof total);
    memcpy(w[0], &even, sizeof w[0]), memcpy(w[1], &odd, sizeof w[1]);
    memcpy(x[0], &x_even, sizeof x[0]), memcpy(x[1], &x_odd, sizeof x[1]);
    for (int q = 0; q < QUARTERS; q++) total[q] = vdotq_s32(vdotq_s32(total[q], w[0][q], x[0][q]), w[1][q], x[1][q]);
    memcpy(&sums, total, sizeof sums);
    return sums;
}

/// [4 blocks][4 rows]: the sums of the four parts of each block, for four rows. Neighbours are added in pairs.
INLINE i32x16 add_parts(const i32x16 rows[4]) {
    int32x4_t parts[4][QUARTERS], blocks[QUARTERS];
    memcpy(parts, rows, sizeof parts);
    for (int q = 0; q < QUARTERS; q++)
        blocks[q] = vpaddq_s32(vpaddq_s32(parts[0][q], parts[1][q]), vpaddq_s32(parts[2][q], parts[3][q]));
    i32x16 sums;
    memcpy(&sums, blocks, sizeof sums);
    return sums;
}

/// Sixteen columns of a block, of which sdot takes four at a time.
INLINE i32x4 sixteen_columns(const int8_t *columns) { return (i32x4)vld1q_s8(columns); }

/// dots[t][q] += the dot products of one block with `quarters` times four rows of a tile, for `tokens` tokens, the
/// first of them at index `at` of x; of 16-bit activations the low plane's, and high[t][q] += the high one's.
INLINE void dots_of_block(
    product_kind kind, int tokens, int quarters, const uint8_t *values, const q8_slice *x, size_t at,
    int32x4_t (*dots)[QUARTERS], int32x4_t (*high)[QUARTERS]) {
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; half++) {
        i32x4 columns[TOKENS], high_columns[TOKENS];
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) {
            columns[t] = sixteen_columns((kind == Q8_BY_16 ? x->low : x->values)[at + (size_t)t] + half * 16);
            if (kind == Q8_BY_16) high_columns[t] = sixteen_columns(x->values[at + (size_t)t] + half * 16);
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; i++)
#pragma clang loop unroll(full)
            for (int q = 0; q < quarters; q++) {
                uint8x16_t w = vld1q_u8(values + (half * 4 + i) * 64 + q * 16);
                if (kind != MXFP4_BY_8) w = veorq_u8(w, vdupq_n_u8(128));
#pragma clang loop unroll(full)
                for (int t = 0; t < tokens; t++) {
                    dots[t][q] = vdotq_s32(dots[t][q], (int8x16_t)w, (int8x16_t)(i32x4)(columns[t][i]));
                    if (kind == Q8_BY_16)
                        high[t][q] = vdotq_s32(high[t][q], (int8x16_t)w, (int8x16_t)(i32x4)(high_columns[t][i]));
                }
            }
    }
}

/// sums[tile * tokens + t] += the products of `tokens` tokens with the tiles over `blocks` blocks, the first of them at
/// index `at` of x.
INLINE void q8_products(
    product_kind kind, int tiles, int tokens, const tile_blocks *w, const q8_slice *x, size_t at, size_t blocks,
    f32x16 *sums) {
    // As many rows at a time as leave registers for the sums of all tokens.
    const int quarters = tokens > 2 ? 2 : 4;
    uintptr_t ahead = w->ahead;
    for (int tile = 0; tile < tiles; tile++)
        for (int from = 0; from < QUARTERS; from += quarters) {
            const uint8_t *values = w->values + (size_t)tile * w->values_step + (size_t)from * 16;
            const float *scales = w->scales + (size_t)tile * w->scales_step + (size_t)from * 4;
            float *results = (float *)(sums + tile * tokens) + from * 4;
            float32x4_t totals[TOKENS][QUARTERS];
            for (int t = 0; t < tokens; t++)
                for (int q = 0; q < quarters; q++) totals[t][q] = vld1q_f32(results + t * LANES + q * 4);
            for (size_t b = 0; b < blocks; b++) {
                size_t first = at + b * (size_t)tokens;
                const uint8_t *block = values + b * SHOAL_TILE_ROWS * SHOAL_BLOCK;
                if (tile == 0 && from == 0) ahead = prefetch_ahead(ahead, w->ahead_lines);
                float32x4_t scale[QUARTERS];
                int32x4_t dots[TOKENS][QUARTERS], high[TOKENS][QUARTERS];
                for (int q = 0; q < quarters; q++) {
                    scale[q] = vld1q_f32(scales + b * LANES + q * 4);
                    for (int t = 0; t < tokens; t++) {
                        dots[t][q] = kind == MXFP4_BY_8 ? vreinterpretq_s32_f32(scale[q]) : vdupq_n_s32(0);
                        high[t][q] = vdupq_n_s32(0);
                    }
                }
                dots_of_block(kind, tokens, quarters, block, x, first, dots, high);
                for (int t = 0; t < tokens; t++) {
                    float x_scale = x->scales[first + (size_t)t];
                    for (int q = 0; q < quarters; q++) {
                        if (kind == Q8_BY_16) dots[t][q] = vmlaq_n_s32(dots[t][q], high[t][q], 255);
                        if (kind == MXFP4_BY_8) {
                            float32x4_t products = vsubq_f32(vreinterpretq_f32_s32(dots[t][q]), scale[q]);
                            totals[t][q] = vfmaq_n_f32(totals[t][q], products, x_scale);
                        } else {
                            totals[t][q] =
                                vfmaq_f32(totals[t][q], vcvtq_f32_s32(dots[t][q]), vmulq_n_f32(scale[q], x_scale));
                        }
                    }
                }
            }
            for (int t = 0; t < tokens; t++)
                for (int q = 0; q < quarters; q++) vst1q_f32(results + t * LANES + q * 4, totals[t][q]);
        }
}

/// The MXFP4 values, doubled, of the codes in the lowest four bits of each lane: bytes 2 code and 2 code + 1 of a table
/// in bfloat16 become a lane's upper half; its lower half asks for bytes beyond the table, which are zero.
INLINE f32x16 e2m1_doubled(u32x16 codes) {
    static const uint16_t values[16] = {
        0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40c0, 0x4100, 0x4140,
        0x8000, 0xbf80, 0xc000, 0xc040, 0xc080, 0xc0c0, 0xc100, 0xc140,
    };
    const uint8x16x2_t table = {{vreinterpretq_u8_u16(vld1q_u16(values)), vreinterpretq_u8_u16(vld1q_u16(values + 8))}};
    u32x16 indices = (codes & 15) * 0x02020000 + 0x0100ffff;
    uint8x16_t quarters[QUARTERS];
    memcpy(quarters, &indices, sizeof quarters);
    for (int q = 0; q < QUARTERS; q++) quarters[q] = vqtbl2q_u8(table, quarters[q]);
    f32x16 v;
    memcpy(&v, quarters, sizeof v);
    return v;
}

#include "attention.h"
#include "elementwise.h"
#include "matmul_bf16.h"
#include "matmul_f32.h"
#include "matmul_q8.h"

#pragma clang attribute pop

const shoal_kernels shoal_kernels_neon = SHOAL_KERNELS(
    SHOAL_ISA_NEON, "neon", matmul_mxfp4_q8, matmul_q8_q8, matmul_q8_q16, matmul_mxfp4_bf16, matmul_bf16_bf16);
#endif
