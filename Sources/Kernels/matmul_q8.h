// Matrix products with int8 or 16-bit activations: the loops around an instruction set's own inner one.
//
// A tile is sixteen weight rows. The inner loop reads its bytes as [block][8][16 rows][4 columns], the way a
// shoal_q8_matrix is stored; MXFP4 is decoded into that form, a few blocks at a time, in the first-level cache, where
// all tokens then share it.
//
// The including file defines `words_of_rows`, `decode_mxfp4_block` and `q8_products`; TOKENS (1, 2, 4 or 8), how many
// tokens the inner loop takes at once; FEW_TOKENS, for how many decoded weights can stay in registers; MXFP4_OFFSET and Q8_OFFSET, by how much its weights exceed the true ones.
#ifndef SHOAL_MATMUL_Q8_H
#define SHOAL_MATMUL_Q8_H

#include "q8_slice.h"

/// Where the results of one tile go.
typedef struct {
    float *y;  // of the slice's first token and the tile's first row
    size_t stride;
    size_t rows;           // of the tile that exist
    int is_first;          // nothing has been added up yet
    int has_next;          // another tile follows
    const uint16_t *bias;  // to be added now; NULL otherwise
} tile_results;

INLINE void q8_token_group(
    product_kind kind, int tokens, const uint8_t *values, size_t tile_bytes, const float *scales, const q8_slice *x,
    size_t token, size_t block, size_t blocks, const tile_results *results) {
    size_t prefetch_distance = token == 0 && results->has_next ? tile_bytes : 0;
    size_t at = q8_slice_index(x, token, block);
    f32x16 sums[TOKENS];
    float *y = results->y + token * results->stride;
    for (int t = 0; t < tokens; t++)
        sums[t] = results->is_first ? splat(0) : load(y + (size_t)t * results->stride, results->rows);
    q8_products(kind, tokens, values, prefetch_distance, scales, x, at, blocks, sums);
    for (int t = 0; t < tokens; t++) {
        if (results->bias) sums[t] += load_bf16(results->bias, results->rows);
        store(y + (size_t)t * results->stride, sums[t], results->rows);
    }
}

/// Blocks [block, block + blocks) of the slice, for all its tokens. Where the values are the matrix's own, `tile_bytes`
/// says how far behind the next tile's are; it is 0 for decoded ones.
INLINE void q8_tile_group(
    product_kind kind, const uint8_t *values, size_t tile_bytes, const float *scales, const q8_slice *x, size_t block,
    size_t blocks, const tile_results *results) {
    size_t t = 0;
    for (; t + TOKENS <= x->tokens; t += TOKENS)
        q8_token_group(kind, TOKENS, values, tile_bytes, scales, x, t, block, blocks, results);
    if (TOKENS > 4 && x->tokens - t >= 4) {
        q8_token_group(kind, 4, values, tile_bytes, scales, x, t, block, blocks, results);
        t += 4;
    }
    if (TOKENS > 2 && x->tokens - t >= 2) {
        q8_token_group(kind, 2, values, tile_bytes, scales, x, t, block, blocks, results);
        t += 2;
    }
    if (TOKENS > 1 && x->tokens > t) q8_token_group(kind, 1, values, tile_bytes, scales, x, t, block, blocks, results);
}

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/// 2^(scale - 128) for sixteen E8M0 scales in the lowest bytes of the lanes; see shoal_mxfp4_half_scale.
INLINE f32x16 mxfp4_half_scales(u32x16 scales) {
    scales &= 255;
    return from_bits(scales >= 2 ? (scales - 1) << 23 : (u32x16)0x00200000u << (scales & 1));
}

/// Block after block, the half scales of sixteen rows.
static void decode_mxfp4_scales(const uint8_t *const rows[SHOAL_TILE_ROWS], size_t blocks, float *scales) {
    if (blocks == 16) {
        u32x16 words[4];
        words_of_rows(rows, 0, words);
        for (size_t b = 0; b < 16; b++, words[b / 4 % 4] >>= b % 4 ? 8 : 0)
            store(scales + b * LANES, mxfp4_half_scales(words[b / 4]), LANES);
        return;
    }
    for (size_t b = 0; b < blocks; b += 4) {
        size_t count = smaller(4, blocks - b);
        u32x16 v = 0;
#pragma clang loop unroll(full)
        for (int r = 0; r < SHOAL_TILE_ROWS; r++) {
            uint32_t four = 0;
            if (count == 4)
                memcpy(&four, rows[r] + b, 4);
            else
                memcpy(&four, rows[r] + b, count);
            v[r] = four;
        }
        for (size_t i = 0; i < count; i++, v >>= 8) store(scales + (b + i) * LANES, mxfp4_half_scales(v), LANES);
    }
}

/// The sixteen rows of an MXFP4 tile at one block. The last tile may lack rows: its last row stands in for them, and
/// their results are not stored.
typedef struct {
    const uint8_t *codes[SHOAL_TILE_ROWS];
    const uint8_t *scales[SHOAL_TILE_ROWS];
} mxfp4_rows;

INLINE mxfp4_rows mxfp4_rows_at(const shoal_mxfp4_matrix *w, size_t n, size_t rows, size_t block) {
    mxfp4_rows at;
    for (size_t r = 0; r < SHOAL_TILE_ROWS; r++) {
        size_t index = (n + smaller(r, rows - 1)) * (w->columns / SHOAL_BLOCK) + block;
        at.codes[r] = w->blocks + index * (SHOAL_BLOCK / 2);
        at.scales[r] = w->scales + index;
    }
    return at;
}

/// Asks for one part in `blocks` of what the next tile has in these columns. The hardware does not foresee sixteen
/// interleaved streams, and a burst of requests stalls: so a few for each block, a whole tile ahead of time.
INLINE void prefetch_next_tile(const mxfp4_rows *rows, size_t part, size_t blocks, size_t row_blocks) {
    for (size_t r = part; r < SHOAL_TILE_ROWS; r += blocks) {
        uintptr_t codes = (uintptr_t)rows->codes[r] + SHOAL_TILE_ROWS * row_blocks * (SHOAL_BLOCK / 2);
        for (size_t line = 0; line < GROUP_BLOCKS * SHOAL_BLOCK / 2; line += 64)
            __builtin_prefetch((const void *)(codes + line));
        __builtin_prefetch((const void *)((uintptr_t)rows->scales[r] + SHOAL_TILE_ROWS * row_blocks));
    }
}

INLINE void mxfp4_tile(
    const shoal_mxfp4_matrix *w, size_t n, const q8_slice *x, size_t first_block, const tile_results *results) {
    uint8_t values[GROUP_BLOCKS][SHOAL_TILE_ROWS * SHOAL_BLOCK] __attribute__((aligned(64)));
    float scales[GROUP_BLOCKS * LANES] __attribute__((aligned(64)));
    tile_results group = *results;
    for (size_t b = 0; b < x->blocks; b += GROUP_BLOCKS) {
        size_t blocks = smaller(GROUP_BLOCKS, x->blocks - b);
        mxfp4_rows rows = mxfp4_rows_at(w, n, results->rows, first_block + b);
        decode_mxfp4_scales(rows.scales, blocks, scales);
        for (size_t i = 0; i < blocks; i++) {
            if (results->has_next) prefetch_next_tile(&rows, i, blocks, w->columns / SHOAL_BLOCK);
            decode_mxfp4_block(rows.codes, i * (SHOAL_BLOCK / 2), values[i]);
        }
        group.is_first = results->is_first && b == 0;
        group.bias = b + blocks == x->blocks ? results->bias : NULL;
        q8_tile_group(MXFP4_BY_8, values[0], 0, scales, x, b, blocks, &group);
    }
}

/// The same for so few tokens that what is decoded stays in registers.
INLINE void mxfp4_tile_for_few(
    int tokens, const shoal_mxfp4_matrix *w, size_t n, const q8_slice *x, size_t first_block,
    const tile_results *results) {
    float scales[GROUP_BLOCKS * LANES] __attribute__((aligned(64)));
    f32x16 sums[TOKENS];
    for (int t = 0; t < tokens; t++)
        sums[t] = results->is_first ? splat(0) : load(results->y + (size_t)t * results->stride, results->rows);
    for (size_t b = 0; b < x->blocks; b += GROUP_BLOCKS) {
        size_t blocks = smaller(GROUP_BLOCKS, x->blocks - b);
        mxfp4_rows rows = mxfp4_rows_at(w, n, results->rows, first_block + b);
        decode_mxfp4_scales(rows.scales, blocks, scales);
        for (size_t i = 0; i < blocks; i++) {
            uint8_t values[SHOAL_TILE_ROWS * SHOAL_BLOCK] __attribute__((aligned(64)));
            if (results->has_next) prefetch_next_tile(&rows, i, blocks, w->columns / SHOAL_BLOCK);
            decode_mxfp4_block(rows.codes, i * (SHOAL_BLOCK / 2), values);
            q8_products(
                MXFP4_BY_8, tokens, values, 0, scales + i * LANES, x, q8_slice_index(x, 0, b + i), 1, sums);
        }
    }
    for (int t = 0; t < tokens; t++) {
        if (results->bias) sums[t] += load_bf16(results->bias, results->rows);
        store(results->y + (size_t)t * results->stride, sums[t], results->rows);
    }
}

INLINE void mxfp4_tile_for(
    const shoal_mxfp4_matrix *w, size_t n, const q8_slice *x, size_t first_block, const tile_results *results) {
    if (x->tokens == 1) return mxfp4_tile_for_few(1, w, n, x, first_block, results);
    if (x->tokens == 2 && FEW_TOKENS > 1) return mxfp4_tile_for_few(2, w, n, x, first_block, results);
    if (x->tokens == 3 && FEW_TOKENS > 2) return mxfp4_tile_for_few(3, w, n, x, first_block, results);
    if (x->tokens == 4 && FEW_TOKENS > 3) return mxfp4_tile_for_few(4, w, n, x, first_block, results);
    mxfp4_tile(w, n, x, first_block, results);
}

INLINE void q8_tile(
    product_kind kind, const shoal_q8_matrix *w, size_t n, const q8_slice *x, size_t first_block,
    const tile_results *results) {
    size_t tile_bytes = w->blocks * SHOAL_TILE_ROWS * SHOAL_BLOCK;
    float scales[GROUP_BLOCKS * LANES] __attribute__((aligned(64)));
    tile_results group = *results;
    for (size_t b = 0; b < x->blocks; b += GROUP_BLOCKS) {
        size_t blocks = smaller(GROUP_BLOCKS, x->blocks - b);
        size_t at = n / SHOAL_TILE_ROWS * w->blocks + first_block + b;
        const uint8_t *values = w->values + at * SHOAL_TILE_ROWS * SHOAL_BLOCK;
        for (size_t i = 0; i < blocks; i++)
            store(scales + i * LANES, load_bf16(w->scales + (at + i) * LANES, LANES), LANES);
        group.is_first = results->is_first && b == 0;
        group.bias = b + blocks == x->blocks ? results->bias : NULL;
        q8_tile_group(kind, values, tile_bytes, scales, x, b, blocks, &group);
    }
}

/// All slices of the activations, and for each all tiles: the sums wait in y from slice to slice.
INLINE void matmul_q8(
    product_kind kind, const void *w, const uint16_t *bias, size_t row_blocks, const activation_rows *x,
    size_t row_begin,
    size_t row_end, float *y, size_t y_stride) {
    q8_slice slice;
    for (size_t t = 0; t < x->rows; t += slice.tokens) {
        slice.tokens = smaller(SLICE_TOKENS, x->rows - t);
        slice.stride = smaller(TOKENS, slice.tokens);
        size_t padded_tokens = (slice.tokens + slice.stride - 1) / slice.stride * slice.stride;
        for (size_t b = 0; b < row_blocks; b += slice.blocks) {
            slice.blocks = smaller(SLICE_BLOCKS / padded_tokens, row_blocks - b);
            q8_slice_fill(&slice, kind, kind == MXFP4_BY_8 ? MXFP4_OFFSET : Q8_OFFSET, x, t, b);
            for (size_t n = row_begin; n < row_end; n += SHOAL_TILE_ROWS) {
                tile_results results = {
                    .y = y + t * y_stride + n,
                    .stride = y_stride,
                    .rows = smaller(SHOAL_TILE_ROWS, row_end - n),
                    .is_first = b == 0,
                    .has_next = n + SHOAL_TILE_ROWS < row_end,
                    .bias = bias && b + slice.blocks == row_blocks ? bias + n : NULL,
                };
                if (kind == MXFP4_BY_8)
                    mxfp4_tile_for(w, n, &slice, b, &results);
                else
                    q8_tile(kind, w, n, &slice, b, &results);
            }
        }
    }
}

static void matmul_mxfp4_q8(
    const shoal_mxfp4_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    activation_rows rows = {x->values, NULL, x->scales, x->rows, x->blocks};
    matmul_q8(MXFP4_BY_8, w, w->bias, w->columns / SHOAL_BLOCK, &rows, row_begin, row_end, y, y_stride);
}

static void matmul_q8_q8(
    const shoal_q8_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    activation_rows rows = {x->values, NULL, x->scales, x->rows, x->blocks};
    matmul_q8(Q8_BY_8, w, w->bias, w->blocks, &rows, row_begin, row_end, y, y_stride);
}

static void matmul_q8_q16(
    const shoal_q8_matrix *w, const shoal_q16_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    activation_rows rows = {x->high, x->low, x->scales, x->rows, x->blocks};
    matmul_q8(Q8_BY_16, w, w->bias, w->blocks, &rows, row_begin, row_end, y, y_stride);
}

#endif
