// Matrix products with bfloat16 activations, written once for every instruction set that has `vectors.h`.
//
// Thirty-two columns are a vector of sixteen pairs, and each lane sums its own pairs, so that a row of the checkpoint is
// read from its beginning to its end as it lies there. Few tokens take the weights straight from memory, decoded in
// registers; many share a tile of them, decoded into a panel in the second-level cache.
//
// The including file chooses BF16_ROWS and BF16_TOKENS, whose product of accumulators fits its registers (BF16_ROWS
// divides 16), and BF16_DIRECT_GROUPS: at most so many groups of tokens decode the weights each anew. It defines
// `e2m1_doubled`; or, where it defines OWN_BF16_PAIRS, `add_pairs`, `prepared_scales` and `mxfp4_pairs`.
#ifndef SHOAL_MATMUL_BF16_H
#define SHOAL_MATMUL_BF16_H

#include "vectors.h"

#define PAIR_COLUMNS SHOAL_BLOCK  // in a vector of pairs
#define ROW_STEPS 128             // so many vectors of a row at most are gone through at once,
#define PANEL_STEPS 48            // or so many where they are decoded into a panel
#define PANEL_TOKENS 64           // tokens that share what was decoded

typedef uint8_t u8x16 __attribute__((ext_vector_type(16)));

/// Each weight below 2^-56 counts as zero, as do activations: see SHOAL_BF16_LEAST.
INLINE u32x16 without_least(u32x16 pairs) {
    typedef uint16_t u16x32 __attribute__((ext_vector_type(32)));
    u16x32 halves = (u16x32)pairs;
    return (u32x16)((halves & 0x7fff) >= SHOAL_BF16_LEAST ? halves : (u16x32)0);
}

/// The first `left` of thirty-two columns, the others zero.
INLINE u32x16 load_pairs(const uint8_t *bytes, size_t left) {
    u32x16 pairs = 0;
    memcpy(&pairs, bytes, left < PAIR_COLUMNS ? left * sizeof(uint16_t) : sizeof pairs);
    return pairs;
}

#ifndef OWN_BF16_PAIRS
/// sums + the products of the odd columns, then + those of the even ones, each rounded once.
INLINE f32x16 add_pairs(f32x16 sums, u32x16 w, u32x16 x) {
    sums = fma16(from_bits(w & 0xffff0000u), from_bits(x & 0xffff0000u), sums);
    return fma16(from_bits(w << 16), from_bits(x << 16), sums);
}

/// How `mxfp4_pairs` takes the scales of sixteen blocks: as floats, to be multiplied with doubled codes.
INLINE u32x16 prepared_scales(u32x16 scales) {
    scales = __builtin_elementwise_min(scales, (u32x16)SHOAL_MXFP4_MOST_SCALE);
    return scales < SHOAL_BF16_LEAST_SCALE ? (u32x16)0 : (scales - 1) << 23;
}

/// The weights of the block whose codes are at `codes`.
INLINE u32x16 mxfp4_pairs(const uint8_t *codes, uint32_t scale) {
    u8x16 bytes;
    memcpy(&bytes, codes, sizeof bytes);
    u32x16 even = __builtin_convertvector(bytes, u32x16);
    f32x16 factor = splat(shoal_float_from_bits(scale));
    return bits_of(e2m1_doubled(even) * factor) >> 16 | bits_of(e2m1_doubled(even >> 4) * factor);
}
#endif

/// Where the weights of a tile's rows are, and in what form.
typedef enum { IN_MXFP4, IN_BF16, IN_PANEL } weight_form;

/// Some vectors of the sixteen rows of a tile. Rows that the last tile lacks are its last one again: their results are
/// not stored.
typedef struct {
    const uint8_t *rows[SHOAL_TILE_ROWS];
    uint32_t (*scales)[ROW_STEPS];  // [16 rows], as `prepared_scales` has them; of MXFP4 alone
    size_t steps;                     // vectors
    size_t last_columns;              // in the last vector
    const uint8_t *ahead;             // bytes that will be needed later, to be asked for meanwhile:
    size_t ahead_bytes;               // so many with each vector of BF16_ROWS rows
} tile_weights;

INLINE size_t step_bytes(weight_form form) { return form == IN_MXFP4 ? SHOAL_BLOCK / 2 : sizeof(u32x16); }

INLINE u32x16 weights_at(weight_form form, const tile_weights *w, size_t row, size_t step, size_t columns) {
    const uint8_t *at = w->rows[row] + step * step_bytes(form);
    switch (form) {
        case IN_MXFP4: return mxfp4_pairs(at, w->scales[row][step]);
        case IN_BF16: return without_least(load_pairs(at, columns));
        case IN_PANEL: return load_pairs(at, PAIR_COLUMNS);
    }
}

/// One vector of columns, of which `columns` exist, for each token and BF16_ROWS rows from `row` on.
INLINE void bf16_step(
    weight_form form, int tokens, const tile_weights *w, size_t row, const uint16_t *x, size_t x_stride, size_t step,
    size_t columns, f32x16 (*p)[BF16_ROWS]) {
    u32x16 v[BF16_ROWS];
#pragma clang loop unroll(full)
    for (size_t r = 0; r < BF16_ROWS; r++) v[r] = weights_at(form, w, row + r, step, columns);
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) {
        u32x16 u = load_pairs((const uint8_t *)(x + (size_t)t * x_stride + step * PAIR_COLUMNS), PAIR_COLUMNS);
#pragma clang loop unroll(full)
        for (int r = 0; r < BF16_ROWS; r++) p[t][r] = add_pairs(p[t][r], v[r], u);
    }
}

/// sums[t][row...] += x[t] · w[row...] for `tokens` tokens and BF16_ROWS rows.
INLINE void bf16_products(
    weight_form form, int tokens, const tile_weights *w, size_t row, const uint16_t *x, size_t x_stride,
    f32x16 (*sums)[SHOAL_TILE_ROWS]) {
    f32x16 p[BF16_TOKENS][BF16_ROWS];
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++)
#pragma clang loop unroll(full)
        for (size_t r = 0; r < BF16_ROWS; r++) p[t][r] = sums[t][row + r];
    uintptr_t ahead = (uintptr_t)w->ahead + row / BF16_ROWS * w->steps * w->ahead_bytes;
    size_t whole = w->steps - (form == IN_BF16 && w->last_columns < PAIR_COLUMNS);
    for (size_t step = 0; step < whole; step++) {
        for (size_t line = 0; line < w->ahead_bytes; line += 64) ask_for(ahead + line);
        ahead += w->ahead_bytes;
        bf16_step(form, tokens, w, row, x, x_stride, step, PAIR_COLUMNS, p);
    }
    if (whole < w->steps) bf16_step(form, tokens, w, row, x, x_stride, whole, w->last_columns, p);
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++)
#pragma clang loop unroll(full)
        for (size_t r = 0; r < BF16_ROWS; r++) sums[t][row + r] = p[t][r];
}

/// All sixteen rows for up to BF16_TOKENS tokens.
INLINE void bf16_tile_products(
    weight_form form, size_t tokens, const tile_weights *w, const uint16_t *x, size_t x_stride,
    f32x16 (*sums)[SHOAL_TILE_ROWS]) {
#pragma clang loop unroll(disable)
    for (size_t row = 0; row < SHOAL_TILE_ROWS; row += BF16_ROWS)
        switch (tokens) {  // a constant in the inner loop
            case 1: bf16_products(form, 1, w, row, x, x_stride, sums); break;
            case 2: bf16_products(form, 2, w, row, x, x_stride, sums); break;
#if BF16_TOKENS > 2
            case 3: bf16_products(form, 3, w, row, x, x_stride, sums); break;
            case 4: bf16_products(form, 4, w, row, x, x_stride, sums); break;
#endif
#if BF16_TOKENS > 4
            case 5: bf16_products(form, 5, w, row, x, x_stride, sums); break;
#endif
        }
}

/// All sixteen rows for all tokens, group after group.
INLINE void bf16_groups(
    weight_form form, size_t tokens, size_t groups, tile_weights *w, const uint16_t *x, size_t x_stride,
    f32x16 (*sums)[SHOAL_TILE_ROWS]) {
    for (size_t group = 0; group < groups; group++) {
        size_t begin = tokens * group / groups, end = tokens * (group + 1) / groups;
        bf16_tile_products(form, end - begin, w, x + begin * x_stride, x_stride, sums + begin);
        w->ahead += SHOAL_TILE_ROWS / BF16_ROWS * w->steps * w->ahead_bytes;
    }
}

/// Decodes a tile, and leads `w` to what was decoded.
INLINE void fill_panel(weight_form form, tile_weights *w, u32x16 (*panel)[PANEL_STEPS]) {
    for (size_t r = 0; r < SHOAL_TILE_ROWS; r++) {
        for (size_t step = 0; step + 1 < w->steps; step++) panel[r][step] = weights_at(form, w, r, step, PAIR_COLUMNS);
        panel[r][w->steps - 1] = weights_at(form, w, r, w->steps - 1, w->last_columns);
        w->rows[r] = (const uint8_t *)panel[r];
    }
}

/// A matrix in either form.
typedef struct {
    const uint8_t *values;  // codes, or bfloat16
    const uint8_t *scales;  // NULL for bfloat16
    const uint16_t *bias;
    size_t columns;
} bf16_weights;

/// The last sixteen scales of a row may have been prepared before.
INLINE void prepare_scales(const uint8_t *scales, size_t count, size_t ahead, uint32_t *prepared) {
    for (size_t done = 0; done < count; done += LANES) {
        ask_for((uintptr_t)scales + done + ahead);
        size_t at = done + LANES <= count || count < LANES ? done : count - LANES;
        u8x16 some = 0;
        if (count < LANES)
            memcpy(&some, scales, count);
        else
            memcpy(&some, scales + at, sizeof some);
        u32x16 words = prepared_scales(__builtin_convertvector(some, u32x16));
        memcpy(prepared + at, &words, sizeof words);
    }
}

/// Vectors [step, step + count) of rows [n, n + rows), where `scales` has room for theirs.
INLINE tile_weights tile_at(
    const bf16_weights *m, size_t n, size_t rows, size_t step, size_t count, uint32_t (*scales)[ROW_STEPS]) {
    weight_form form = m->scales ? IN_MXFP4 : IN_BF16;
    size_t all_steps = (m->columns + PAIR_COLUMNS - 1) / PAIR_COLUMNS;
    size_t row_bytes = m->scales ? m->columns / 2 : m->columns * sizeof(uint16_t);
    tile_weights w = {.scales = scales, .steps = count};
    w.last_columns = smaller(m->columns - (step + count - 1) * PAIR_COLUMNS, PAIR_COLUMNS);
    for (size_t r = 0; r < SHOAL_TILE_ROWS; r++) {
        size_t row = n + smaller(r, rows - 1);
        w.rows[r] = m->values + row * row_bytes + step * step_bytes(form);
        if (m->scales) prepare_scales(m->scales + row * all_steps + step, count, SHOAL_TILE_ROWS * all_steps, scales[r]);
    }
    return w;
}

/// From sixteen vectors of partial sums to their sums, by the reduction tree of all of them at once: halves of two
/// vectors become one, until each vector is one lane.
INLINE f32x16 reduce_rows(const f32x16 *p) {
    // In this order the sums end up in the order of rows.
    const int order[SHOAL_TILE_ROWS] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};
    f32x16 q[8];
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; i++) {
        f32x16 a = p[order[i]], b = p[order[i + 8]];
        q[i] = SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++)
        q[i] = SHUFFLE(q[i], q[i + 4], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
               SHUFFLE(q[i], q[i + 4], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
#pragma clang loop unroll(full)
    for (int i = 0; i < 2; i++)
        q[i] = SHUFFLE(q[i], q[i + 2], 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
               SHUFFLE(q[i], q[i + 2], 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
    return SHUFFLE(q[0], q[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
           SHUFFLE(q[0], q[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

/// One tile of rows [n, n + rows) for up to PANEL_TOKENS tokens.
INLINE void bf16_tile(
    weight_form form, const bf16_weights *m, size_t n, size_t rows, int has_next, const uint16_t *x, size_t tokens,
    float *y, size_t y_stride) {
    u32x16 panel[SHOAL_TILE_ROWS][PANEL_STEPS];
    uint32_t scales[SHOAL_TILE_ROWS][ROW_STEPS];
    f32x16 sums[PANEL_TOKENS][SHOAL_TILE_ROWS];
    size_t all_steps = (m->columns + PAIR_COLUMNS - 1) / PAIR_COLUMNS, stride = all_steps * PAIR_COLUMNS;
    size_t groups = (tokens + BF16_TOKENS - 1) / BF16_TOKENS;
    int has_panel = groups > BF16_DIRECT_GROUPS;
    size_t most = has_panel ? PANEL_STEPS : ROW_STEPS, parts = (all_steps + most - 1) / most;
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < SHOAL_TILE_ROWS; r++) sums[t][r] = splat(0);
    for (size_t part = 0; part < parts; part++) {
        size_t begin = all_steps * part / parts, count = all_steps * (part + 1) / parts - begin;
        tile_weights w = tile_at(m, n, rows, begin, count, scales);
        // The next tile is asked for in order of address: the hardware does not foresee many streams.
        w.ahead = m->values + (n + (has_next ? SHOAL_TILE_ROWS : 0)) * m->columns * step_bytes(form) / PAIR_COLUMNS +
                  SHOAL_TILE_ROWS * begin * step_bytes(form);
        w.ahead_bytes = (BF16_ROWS * step_bytes(form) + groups - 1) / groups;
        const uint16_t *columns = x + begin * PAIR_COLUMNS;
        if (has_panel) {
            fill_panel(form, &w, panel);
            bf16_groups(IN_PANEL, tokens, groups, &w, columns, stride, sums);
        } else {
            bf16_groups(form, tokens, groups, &w, columns, stride, sums);
        }
    }
    for (size_t t = 0; t < tokens; t++) {
        f32x16 sum = reduce_rows(sums[t]);
        if (m->bias) sum += load_bf16(m->bias + n, rows);
        store(y + t * y_stride + n, sum, rows);
    }
}

INLINE void matmul_bf16(
    weight_form form, const bf16_weights *m, const shoal_bf16_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    for (size_t t = 0; t < x->rows; t += PANEL_TOKENS)
        for (size_t n = row_begin; n < row_end; n += SHOAL_TILE_ROWS)
            bf16_tile(
                form, m, n, smaller(SHOAL_TILE_ROWS, row_end - n), n + SHOAL_TILE_ROWS < row_end,
                x->values + t * x->blocks * SHOAL_BLOCK, smaller(PANEL_TOKENS, x->rows - t), y + t * y_stride,
                y_stride);
}

static void matmul_mxfp4_bf16(
    const shoal_mxfp4_matrix *w, const shoal_bf16_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    bf16_weights m = {w->blocks, w->scales, w->bias, w->columns};
    matmul_bf16(IN_MXFP4, &m, x, row_begin, row_end, y, y_stride);
}

static void matmul_bf16_bf16(
    const shoal_bf16_matrix *w, const shoal_bf16_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    bf16_weights m = {(const uint8_t *)w->values, NULL, w->bias, w->columns};
    matmul_bf16(IN_BF16, &m, x, row_begin, row_end, y, y_stride);
}

#endif
