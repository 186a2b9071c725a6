// MXFP4 times int8 rows for a few tokens, where decoding costs as much as multiplying.
//
// Sixty-four bytes of one weight row are four blocks: a quad. Two table look-ups yield its even and its odd columns. For the
// fewest tokens two dot-product instructions give four partial dot products of each block, and a small tree adds those up for
// sixteen rows at once: nothing is transposed before it is multiplied. For more, where FEW_TRANSPOSED is defined, the words of
// sixteen rows are transposed first, once for all tokens. Nothing decoded is stored.
//
// The including file defines `decode_mxfp4_bytes`, `add_dots` and MXFP4_OFFSET, by how much decoded weights are to exceed the
// true ones here; FEW_TOKENS, the most; and, if it likes, FEW_TRANSPOSED, from how many tokens on to transpose, with
// `transpose_words`.
#ifndef SHOAL_MXFP4_FEW_H
#define SHOAL_MXFP4_FEW_H

#include "mxfp4_scales.h"
#include "q8_slice.h"

INLINE int32_t sum_of(i8x32 v) {
    return __builtin_reduce_add(__builtin_convertvector(v, i16x32));
}

#define QUAD 4                                      // blocks in 64 bytes
#define FEW_COLUMNS (SCALES_AT_ONCE * SHOAL_BLOCK)  // the least that a row must have
#define FEW_QUADS 192                               // (token, quad) pairs in a slice

/// One token's activations in a quad.
typedef struct {
    i8x64 even, odd;  // [4 blocks][16 columns]
} few_quad;

/// A slice of the columns of a few tokens, in groups of four quads, whose weights' scales are read together. The last
/// group of a row ends with the row, so it may repeat blocks: there their scales are zero, which leaves sums alone (but for
/// one that underflowed to -0, and then the block behind gives the same sum either way).
typedef struct {
    few_quad quads[FEW_QUADS];         // [groups][4 quads][tokens], as are the next two
    int32_t offsets[FEW_QUADS][QUAD];  // to be added to the blocks' dot products
    float scales[FEW_QUADS][QUAD];
    size_t begin, end;  // blocks
    size_t row_blocks;
} few_slice;

/// The first block of the group that begins the new blocks at `block`.
INLINE size_t few_group(const few_slice *slice, size_t block) {
    return smaller(block, slice->row_blocks - SCALES_AT_ONCE);
}

INLINE void few_slice_fill(few_slice *slice, int tokens, const shoal_q8_rows *x) {
    size_t to = 0;
    for (size_t b = slice->begin; b < slice->end; b += SCALES_AT_ONCE)
        for (size_t first = few_group(slice, b), end = first + SCALES_AT_ONCE; first < end; first += QUAD)
            for (size_t t = 0; t < (size_t)tokens; t++, to++) {
                int8_t even[QUAD][SHOAL_BLOCK / 2], odd[QUAD][SHOAL_BLOCK / 2];
                for (size_t i = 0; i < QUAD; i++) {
                    size_t from = t * x->blocks + first + i;
                    i8x32 v;
                    memcpy(&v, x->values + from * SHOAL_BLOCK, sizeof v);
                    slice->offsets[to][i] = -MXFP4_OFFSET * sum_of(v);
                    v = even_then_odd(v);
                    memcpy(even[i], &v, sizeof even[i]);
                    memcpy(odd[i], (const char *)&v + sizeof even[i], sizeof odd[i]);
                    slice->scales[to][i] = first + i < b ? 0 : shoal_bf16(x->scales[from]);
                }
                memcpy(&slice->quads[to].even, even, sizeof even);
                memcpy(&slice->quads[to].odd, odd, sizeof odd);
            }
}

#ifndef OWN_ADD_PARTS
/// [4 blocks][4 rows]: the sums of the four parts of each block, for four rows.
INLINE i32x16 add_parts(const i32x16 rows[4]) {
    i32x16 halves[2];
    for (int i = 0; i < 2; i++) {
        i32x16 a = rows[2 * i], b = rows[2 * i + 1];
        halves[i] = SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                    SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    }
    return SHUFFLE(halves[0], halves[1], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           SHUFFLE(halves[0], halves[1], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
#endif

/// Four vectors of four quarters, transposed: vector i of the result has quarter i of each.
INLINE void transpose_quarters(const i32x16 v[4], i32x16 quarters[4]) {
    i32x16 low[2], high[2];
#pragma clang loop unroll(full)
    for (int i = 0; i < 2; i++) {
        i32x16 a = v[2 * i], b = v[2 * i + 1];
        low[i] = SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        high[i] = SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
    quarters[0] = SHUFFLE(low[0], low[1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    quarters[1] = SHUFFLE(low[0], low[1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    quarters[2] = SHUFFLE(high[0], high[1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    quarters[3] = SHUFFLE(high[0], high[1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

#define QUADS (SCALES_AT_ONCE / QUAD)  // in a group

/// sums[t] += the products of all tokens with the quads from `begin` on of a group in sixteen rows. `codes`: the group
/// in the first row; `ahead`: as many bytes to be asked for meanwhile; `anchors`: of the group, [16 blocks][16 rows];
/// `x`: where the group begins in the slice.
INLINE void few_products(
    int tokens, const uint8_t *codes, uintptr_t ahead, size_t row_bytes, const float *anchors,
    const few_slice *slice, size_t x, size_t begin, f32x16 *sums) {
    i32x16 parts[QUADS][FEW_TOKENS][4];
    // A few rows at a time fit the registers, and long runs of each please the memory.
    for (size_t quarter = 0; quarter < 4; quarter++)
#pragma clang loop unroll(disable)
        for (size_t quad = begin; quad < QUADS; quad++) {
            u8x64 even[4], odd[4];
#pragma clang loop unroll(full)
            for (size_t r = 0; r < 4; r++) {
                size_t at = (quarter * 4 + r) * row_bytes + quad * sizeof(u8x64);
                ask_for_next(ahead);
                ahead += sizeof(u8x64);
                u8x64 bytes;
                memcpy(&bytes, codes + at, sizeof bytes);
                decode_mxfp4_bytes(MXFP4_OFFSET, bytes, &even[r], &odd[r]);
            }
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                const few_quad *columns = &slice->quads[x + quad * (size_t)tokens + (size_t)t];
                i32x16 dots[4];
#pragma clang loop unroll(full)
                for (int r = 0; r < 4; r++)
                    dots[r] = add_dots((i32x16)0, even[r], columns->even, odd[r], columns->odd);
                parts[quad][t][quarter] = add_parts(dots);
            }
        }
    for (size_t quad = begin; quad < QUADS; quad++)
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) {
            size_t at = x + quad * (size_t)tokens + (size_t)t;
            i32x16 blocks[QUAD];
            transpose_quarters(parts[quad][t], blocks);
#pragma clang loop unroll(full)
            for (size_t i = 0; i < QUAD; i++) {
                f32x16 anchor = load(anchors + (quad * QUAD + i) * LANES, LANES);
                int32_t offset = MXFP4_OFFSET ? slice->offsets[at][i] : 0;
                f32x16 dots = (f32x16)((i32x16)anchor + blocks[i] + offset) - anchor;
                sums[t] = fma16(dots, splat(slice->scales[at][i]), sums[t]);
            }
        }
}

#ifdef FEW_TRANSPOSED
/// The same, where the rows' words come side by side before they are multiplied.
INLINE void few_products_transposed(
    int tokens, const uint8_t *codes, uintptr_t ahead, size_t row_bytes, const float *anchors,
    const few_slice *slice, size_t x, size_t begin, f32x16 *sums) {
    for (size_t quad = begin; quad < QUADS; quad++) {
        i32x16 blocks[4][4];  // [rows 0, 4, 8, 12 and so on][blocks][4 rows][4 words]
#pragma clang loop unroll(full)
        for (size_t r = 0; r < 4; r++) {
            i32x16 rows[4];
#pragma clang loop unroll(full)
            for (size_t i = 0; i < 4; i++) {
                ask_for_next(ahead);
                ahead += sizeof(u8x64);
                memcpy(&rows[i], codes + (i * 4 + r) * row_bytes + quad * sizeof(u8x64), sizeof rows[i]);
            }
            transpose_quarters(rows, blocks[r]);
        }
#pragma clang loop unroll(full)
        for (size_t i = 0; i < QUAD; i++) {
            const i32x16 rows[4] = {blocks[0][i], blocks[1][i], blocks[2][i], blocks[3][i]};
            i32x16 words[4];
            u8x64 even[4], odd[4];
            transpose_words(rows, words);
#pragma clang loop unroll(full)
            for (int j = 0; j < 4; j++) decode_mxfp4_bytes(MXFP4_OFFSET, (u8x64)words[j], &even[j], &odd[j]);
            f32x16 anchor = load(anchors + (quad * QUAD + i) * LANES, LANES);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                size_t at = x + quad * (size_t)tokens + (size_t)t;
                const few_quad *columns = &slice->quads[at];
                int32_t x_even[4], x_odd[4];
                memcpy(x_even, (const char *)&columns->even + i * sizeof x_even, sizeof x_even);
                memcpy(x_odd, (const char *)&columns->odd + i * sizeof x_odd, sizeof x_odd);
                i32x16 dots = (i32x16)anchor + (MXFP4_OFFSET ? slice->offsets[at][i] : 0);
#pragma clang loop unroll(full)
                for (int j = 0; j < 4; j++)
                    dots = add_dots(dots, even[j], (i8x64)(i32x16)(x_even[j]), odd[j], (i8x64)(i32x16)(x_odd[j]));
                sums[t] = fma16((f32x16)dots - anchor, splat(slice->scales[at][i]), sums[t]);
            }
        }
    }
}
#endif

INLINE void few_tile(
    int tokens, const shoal_mxfp4_matrix *w, const few_slice *slice, size_t n, float *y, size_t y_stride) {
    size_t row_blocks = slice->row_blocks, row_bytes = row_blocks * (SHOAL_BLOCK / 2);
    const uint8_t *codes = w->blocks + n * row_bytes, *scales[SHOAL_TILE_ROWS];
    for (size_t r = 0; r < SHOAL_TILE_ROWS; r++) scales[r] = w->scales + (n + r) * row_blocks;
    // The next tile is asked for in order of address: the hardware does not foresee sixteen streams. Where this is the
    // last one of its rows, the next one is most likely this thread's next work.
    size_t next = n + SHOAL_TILE_ROWS < w->rows ? SHOAL_TILE_ROWS * row_blocks : 0;
    f32x16 sums[FEW_TOKENS];
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) sums[t] = slice->begin ? load(y + (size_t)t * y_stride, LANES) : splat(0);
    size_t x = 0;
    for (size_t b = slice->begin; b < slice->end; b += SCALES_AT_ONCE, x += QUADS * (size_t)tokens) {
        size_t first = few_group(slice, b), ahead = next + b * SHOAL_TILE_ROWS;
        float anchors[SCALES_AT_ONCE * LANES] __attribute__((aligned(64)));
        mxfp4_anchors(scales, row_blocks, first, SCALES_AT_ONCE, anchors);
        for (size_t line = 0; line < SCALES_AT_ONCE * SHOAL_TILE_ROWS; line += 64)
            ask_for_next((uintptr_t)scales[0] + ahead + line);
        const uint8_t *group = codes + first * (SHOAL_BLOCK / 2);
        uintptr_t group_ahead = (uintptr_t)codes + ahead * (SHOAL_BLOCK / 2);
        size_t begin = (b - first) / QUAD;
#ifdef FEW_TRANSPOSED
        if (tokens >= FEW_TRANSPOSED) {
            few_products_transposed(tokens, group, group_ahead, row_bytes, anchors, slice, x, begin, sums);
            continue;
        }
#endif
        few_products(tokens, group, group_ahead, row_bytes, anchors, slice, x, begin, sums);
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) {
        if (w->bias && slice->end == row_blocks) sums[t] += load_bf16(w->bias + n, LANES);
        store(y + (size_t)t * y_stride, sums[t], LANES);
    }
}

INLINE void mxfp4_for(
    int tokens, const shoal_mxfp4_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    few_slice slice = {.row_blocks = w->columns / SHOAL_BLOCK};
    size_t most = FEW_QUADS / (size_t)tokens / QUADS * SCALES_AT_ONCE;
    for (; slice.begin < slice.row_blocks; slice.begin = slice.end) {
        slice.end = smaller(slice.begin + most, slice.row_blocks);
        few_slice_fill(&slice, tokens, x);
        for (size_t n = row_begin; n < row_end; n += SHOAL_TILE_ROWS)
            few_tile(tokens, w, &slice, n, y + n, y_stride);
    }
}

/// For up to FEW_TOKENS tokens, at least FEW_COLUMNS columns, and whole tiles.
static void mxfp4_few(
    const shoal_mxfp4_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    switch (x->rows) {  // a constant in the inner loop
        case 1: return mxfp4_for(1, w, x, row_begin, row_end, y, y_stride);
        case 2: return mxfp4_for(2, w, x, row_begin, row_end, y, y_stride);
#if FEW_TOKENS > 2
        case 3: return mxfp4_for(3, w, x, row_begin, row_end, y, y_stride);
        case 4: return mxfp4_for(4, w, x, row_begin, row_end, y, y_stride);
        case 5: return mxfp4_for(5, w, x, row_begin, row_end, y, y_stride);
        case 6: return mxfp4_for(6, w, x, row_begin, row_end, y, y_stride);
        case 7: return mxfp4_for(7, w, x, row_begin, row_end, y, y_stride);
#endif
    }
}

#endif
