// Matrix products with int8 or 16-bit activations: the loops around an instruction set's own inner one.
//
// A tile is sixteen weight rows. The inner loop reads its bytes as [block][8][16 rows][4 columns], the way a
// shoal_q8_matrix is stored; MXFP4 is decoded into that form, a few blocks at a time, in the first-level cache, where
// all tokens then share it.
//
// The including file defines `words_of_rows`, `decode_mxfp4_bytes` and `q8_products`; TOKENS (4, 6 or 8) and, for so many
// tiles, TOKENS_AT_ONCE: how many the inner loop takes at once; PAIRED_TOKENS: from how many on int8
// matrices go two tiles at a time; DECODES_AHEAD: whether `q8_products` decodes MXFP4 on its way; Q8_OFFSET, by how much int8
// weights exceed the true ones; MXFP4_X_OFFSET, by how much the activations that meet decoded weights do: what makes up for
// that is found once for all tokens, while decoding.
#ifndef SHOAL_MATMUL_Q8_H
#define SHOAL_MATMUL_Q8_H

#include "mxfp4_decode.h"
#include "q8_fill.h"

/// Where the results of one or two tiles go.
typedef struct {
    float *y;  // of the slice's first token and the first tile's first row
    size_t stride;
    size_t rows;           // of the tiles that exist
    int is_first;          // nothing has been added up yet
    int has_next;          // other tiles follow, most likely this thread's next work
    const uint16_t *bias;  // to be added now; NULL otherwise
} tile_results;

/// The sums of one or two tiles: for each group of tokens [tiles][tokens of the group].
typedef f32x16 tile_sums[2 * SLICE_TOKENS];

/// Before the blocks the sums come from y, if there are any; after them they go there.
INLINE void move_sums(int is_after, int tiles, f32x16 *sums, const q8_slice *x, const tile_results *results) {
    for (size_t group = 0; group < x->groups; group++) {
        size_t begin = group_begin(x, group), end = group_begin(x, group + 1);
        for (size_t n = 0; n < (size_t)tiles * SHOAL_TILE_ROWS; n += SHOAL_TILE_ROWS) {
            size_t rows = results->rows < n ? 0 : results->rows - n;
            for (size_t t = begin; t < end; t++, sums++) {
                float *y = results->y + t * results->stride + n;
                if (is_after) {
                    if (results->bias) *sums += load_bf16(results->bias + n, rows);
                    store(y, *sums, rows);
                } else {
                    *sums = results->is_first ? splat(0) : load(y, rows);
                }
            }
        }
    }
}

/// Blocks [block, block + blocks) of the slice, for all its tokens, the last group of which may put others in their place.
/// Meanwhile `ahead_bytes` a block are asked for, by each group its part: the memory must not wait for the groups behind the
/// first. With the first blocks go the lines of y, which would otherwise all be missing at once when the sums are stored.
INLINE void q8_tile_group(
    product_kind kind, int tiles, const tile_blocks *w, const q8_slice *x, size_t block, size_t blocks,
    size_t ahead_bytes, const tile_results *results, f32x16 *sums) {
    tile_blocks part = *w;
    size_t lines = ahead_bytes / 64;
    size_t begin = 0, asked = 0;
    for (size_t group = 0; group < x->groups; group++) {
        size_t end = group_begin(x, group + 1), asks = lines * (group + 1) / x->groups, tokens = end - begin;
        part.ahead_lines = asks - asked;
        part.next = end == x->tokens ? w->next : NULL;
        if (block == 0)
            for (size_t t = begin; t < end; t++)
                for (size_t n = 0; n < results->rows; n += SHOAL_TILE_ROWS)
                    ask_to_write(results->y + t * results->stride + n);
        size_t at = begin * x->blocks + block * tokens;
        f32x16 *group_sums = sums + (size_t)tiles * begin;
        switch (tokens) {  // a constant in the inner loop
            case 1: q8_products(kind, tiles, 1, &part, x, at, blocks, group_sums); break;
            case 2: q8_products(kind, tiles, 2, &part, x, at, blocks, group_sums); break;
            case 3: q8_products(kind, tiles, 3, &part, x, at, blocks, group_sums); break;
            case 4: q8_products(kind, tiles, 4, &part, x, at, blocks, group_sums); break;
#if TOKENS > 4
            case 5: q8_products(kind, tiles, 5, &part, x, at, blocks, group_sums); break;
            case 6: q8_products(kind, tiles, 6, &part, x, at, blocks, group_sums); break;
#endif
#if TOKENS > 6
            case 7: q8_products(kind, tiles, 7, &part, x, at, blocks, group_sums); break;
            case 8: q8_products(kind, tiles, 8, &part, x, at, blocks, group_sums); break;
#endif
        }
        part.ahead += blocks * part.ahead_lines * 64;
        begin = end, asked = asks;
    }
}

/// Tiles n / 16 and the next one of an MXFP4 matrix.
INLINE void mxfp4_pair(
    const shoal_mxfp4_matrix *w, size_t n, const q8_slice *x, size_t first_block, const tile_results *results) {
    mxfp4_decoded decoded;
    mxfp4_tiles tiles = mxfp4_tiles_at(w, n, results->rows, &decoded);
    // The next two tiles are asked for in order of address: the hardware does not foresee thirty-two streams. Where
    // there are none, or the slice has not all their columns, these two are asked for again, which costs little.
    int has_next = results->has_next && x->blocks == tiles.row_blocks;
    size_t next = (has_next ? n + 2 * SHOAL_TILE_ROWS : n) * tiles.row_blocks;
    const uint8_t *next_codes = w->blocks + next * (SHOAL_BLOCK / 2), *next_scales = w->scales + next;
    tile_sums sums;
    move_sums(0, 2, sums, x, results);
    mxfp4_tiles_take_blocks(&tiles, first_block, smaller(GROUP_BLOCKS, x->blocks));
    mxfp4_tiles_decode_all(&tiles);
    for (size_t b = 0; b < x->blocks; b += GROUP_BLOCKS) {
        size_t blocks = tiles.blocks, after = b + blocks;
        for (size_t i = 0; i < 2 * blocks * SHOAL_TILE_ROWS; i += 64)
            ask_for_next((uintptr_t)next_scales + 2 * b * SHOAL_TILE_ROWS + i);
        tile_blocks pair = {
            .values = decoded.values[0][0],
            .values_step = sizeof decoded.values[0],
            .scales = tiles.anchors[0],
            .starts = decoded.starts[0],
            .scales_step = GROUP_BLOCKS * LANES,
            .ahead = (uintptr_t)next_codes + 2 * b * (SHOAL_TILE_ROWS * SHOAL_BLOCK / 2),
            .next = &tiles,
        };
        mxfp4_tiles_take_blocks(&tiles, first_block + after, smaller(GROUP_BLOCKS, x->blocks - after));
        q8_tile_group(MXFP4_BY_8, 2, &pair, x, b, blocks, SHOAL_TILE_ROWS * SHOAL_BLOCK, results, sums);
        if (!DECODES_AHEAD) mxfp4_tiles_decode_all(&tiles);
    }
    move_sums(1, 2, sums, x, results);
}

INLINE void q8_tiles(
    product_kind kind, int tiles, const shoal_q8_matrix *w, size_t n, const q8_slice *x, size_t first_block,
    const tile_results *results) {
    float scales[2][GROUP_BLOCKS * LANES] __attribute__((aligned(64)));
    tile_blocks part = {
        .values_step = w->blocks * SHOAL_TILE_ROWS * SHOAL_BLOCK,
        .scales = scales[0],
        .scales_step = GROUP_BLOCKS * LANES,
    };
    size_t ahead_bytes = results->has_next ? (size_t)tiles * SHOAL_TILE_ROWS * SHOAL_BLOCK : 0;
    const uint8_t *next = w->values + (n / SHOAL_TILE_ROWS + (size_t)tiles) * part.values_step;
    tile_sums sums;
    move_sums(0, tiles, sums, x, results);
    for (size_t b = 0; b < x->blocks; b += GROUP_BLOCKS) {
        size_t blocks = smaller(GROUP_BLOCKS, x->blocks - b);
        size_t at = n / SHOAL_TILE_ROWS * w->blocks + first_block + b;
        part.values = w->values + at * SHOAL_TILE_ROWS * SHOAL_BLOCK;
        for (int tile = 0; tile < tiles; tile++, at += w->blocks)
            for (size_t i = 0; i < blocks; i++)
                store(scales[tile] + i * LANES, load_bf16(w->scales + (at + i) * LANES, LANES), LANES);
        part.ahead = (uintptr_t)next + (first_block + b) * ahead_bytes;
        q8_tile_group(kind, tiles, &part, x, b, blocks, ahead_bytes, results, sums);
    }
    move_sums(1, tiles, sums, x, results);
}

/// All slices of the activations, and for each all tiles: the sums wait in y from slice to slice.
INLINE void matmul_q8(
    product_kind kind, const void *w, const uint16_t *bias, size_t w_rows, size_t row_blocks, const activation_rows *x,
    size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    q8_slice slice;
    // As many tokens as leave room for all columns, unless those are few; and as many in each slice.
    size_t whole = SLICE_BLOCKS / row_blocks;
    size_t most = whole < SLICE_TOKENS / 3 ? SLICE_TOKENS : smaller(SLICE_TOKENS, whole);
    size_t slices = (x->rows + most - 1) / most;
    for (size_t s = 0, t = 0; s < slices; s++, t += slice.tokens) {
        slice.tokens = x->rows * (s + 1) / slices - t;
        slice.tiles = tiles_at_once(kind, slice.tokens);
        slice.groups = (slice.tokens - 1) / TOKENS_AT_ONCE(kind, slice.tiles) + 1;
        for (size_t b = 0; b < row_blocks; b += slice.blocks) {
            slice.blocks = smaller(SLICE_BLOCKS / slice.tokens, row_blocks - b);
            q8_slice_fill(&slice, kind, x, t, b);
            size_t rows = (size_t)slice.tiles * SHOAL_TILE_ROWS;
            for (size_t n = row_begin; n < row_end; n += rows) {
                tile_results results = {
                    .y = y + t * y_stride + n,
                    .stride = y_stride,
                    .rows = smaller(rows, row_end - n),
                    .is_first = b == 0,
                    .has_next = n + rows < w_rows,
                    .bias = bias && b + slice.blocks == row_blocks ? bias + n : NULL,
                };
                if (kind == MXFP4_BY_8)
                    mxfp4_pair(w, n, &slice, b, &results);
                else if (results.rows > SHOAL_TILE_ROWS)
                    q8_tiles(kind, 2, w, n, &slice, b, &results);
                else
                    q8_tiles(kind, 1, w, n, &slice, b, &results);
            }
        }
    }
}

static void matmul_mxfp4_q8(
    const shoal_mxfp4_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    if (x->rows <= FEW_TOKENS && w->columns >= FEW_COLUMNS && (row_end - row_begin) % SHOAL_TILE_ROWS == 0)
        return mxfp4_few(w, x, row_begin, row_end, y, y_stride);
    activation_rows rows = {x->values, NULL, x->scales, x->rows, x->blocks};
    matmul_q8(MXFP4_BY_8, w, w->bias, w->rows, w->columns / SHOAL_BLOCK, &rows, row_begin, row_end, y, y_stride);
}

// Unused where the file wants MXFP4's alone.
static __attribute__((unused)) void matmul_q8_q8(
    const shoal_q8_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    activation_rows rows = {x->values, NULL, x->scales, x->rows, x->blocks};
    matmul_q8(Q8_BY_8, w, w->bias, w->rows, w->blocks, &rows, row_begin, row_end, y, y_stride);
}

static __attribute__((unused)) void matmul_q8_q16(
    const shoal_q8_matrix *w, const shoal_q16_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    activation_rows rows = {x->high, x->low, x->scales, x->rows, x->blocks};
    matmul_q8(Q8_BY_16, w, w->bias, w->rows, w->blocks, &rows, row_begin, row_end, y, y_stride);
}

#endif
