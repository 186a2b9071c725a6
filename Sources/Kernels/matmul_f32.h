// Matrix products with float32 activations, written once for every instruction set that has `vectors.h`.
// The including file defines `e2m1_doubled` and chooses F32_ROWS and F32_TOKENS, whose
// product of accumulators fits its registers.
#ifndef SHOAL_MATMUL_F32_H
#define SHOAL_MATMUL_F32_H

#include "vectors.h"

#define SLICE_COLUMNS 512  // columns of F32_ROWS rows that are decoded into the first-level cache at once
#define CHUNK_TOKENS 16    // tokens that share what was decoded

static void dequantize_mxfp4(const uint8_t *blocks, const uint8_t *scales, size_t count, float *out) {
    typedef uint8_t u8x8 __attribute__((ext_vector_type(8)));
    typedef uint64_t u64x8 __attribute__((ext_vector_type(8)));
    for (size_t half = 0; half < 2 * count; half++) {
        u8x8 bytes;
        memcpy(&bytes, blocks + half * 8, sizeof bytes);
        u64x8 pairs = __builtin_convertvector(bytes, u64x8);
        // Shifted by 28, the high nibble lands in the odd lane; `e2m1_doubled` looks at the lowest four bits only.
        u32x16 codes = (u32x16)(pairs | pairs << 28);
        store(out + half * LANES, e2m1_doubled(codes) * shoal_mxfp4_half_scale(scales[half / 2]), LANES);
    }
}

/// One vector of columns, of which `left` exist, for each token and row.
INLINE void f32_step(
    int rows, int tokens, const float (*w)[SLICE_COLUMNS], const float *x, size_t x_stride, size_t k, size_t left,
    f32x16 (*p)[F32_ROWS]) {
    f32x16 u[F32_TOKENS];
    for (int t = 0; t < tokens; t++) u[t] = load(x + (size_t)t * x_stride + k, left);
    for (int r = 0; r < rows; r++) {
        f32x16 v = load(w[r] + k, LANES);
        for (int t = 0; t < tokens; t++) p[t][r] = accumulate(u[t], v, p[t][r], left);
    }
}

/// sums[t][r] += x[t] · w[r] over `width` columns.
INLINE void f32_products(
    int rows, int tokens, const float (*w)[SLICE_COLUMNS], const float *x, size_t x_stride, size_t width,
    f32x16 (*sums)[F32_ROWS]) {
    f32x16 p[F32_TOKENS][F32_ROWS];
    for (int t = 0; t < tokens; t++)
        for (int r = 0; r < rows; r++) p[t][r] = sums[t][r];
    size_t k = 0;
    for (; k + LANES <= width; k += LANES) f32_step(rows, tokens, w, x, x_stride, k, LANES, p);
    if (k < width) f32_step(rows, tokens, w, x, x_stride, k, width - k, p);
    for (int t = 0; t < tokens; t++)
        for (int r = 0; r < rows; r++) sums[t][r] = p[t][r];
}

/// Decodes columns [column, column + width) of row n.
typedef void row_decoder(const void *matrix, size_t n, size_t column, size_t width, float *out);

/// Rows n..<n + rows (one, or F32_ROWS) for up to CHUNK_TOKENS tokens.
INLINE void f32_row_group(
    const void *matrix, row_decoder *decode, const uint16_t *bias, int rows, size_t n, const float *x, size_t tokens,
    size_t columns, float *y, size_t y_stride) {
    float w[F32_ROWS][SLICE_COLUMNS];
    f32x16 sums[CHUNK_TOKENS][F32_ROWS];
    for (size_t t = 0; t < tokens; t++)
        for (int r = 0; r < rows; r++) sums[t][r] = splat(0);
    for (size_t column = 0; column < columns; column += SLICE_COLUMNS) {
        size_t width = columns - column < SLICE_COLUMNS ? columns - column : SLICE_COLUMNS;
        for (int r = 0; r < rows; r++) decode(matrix, n + (size_t)r, column, width, w[r]);
        size_t t = 0;
        for (; t + F32_TOKENS <= tokens; t += F32_TOKENS)
            f32_products(rows, F32_TOKENS, w, x + t * columns + column, columns, width, sums + t);
        for (; t < tokens; t++) f32_products(rows, 1, w, x + t * columns + column, columns, width, sums + t);
    }
    for (size_t t = 0; t < tokens; t++)
        for (int r = 0; r < rows; r++) {
            float sum = reduce(sums[t][r]);
            y[t * y_stride + n + (size_t)r] = bias ? sum + shoal_bf16(bias[n + (size_t)r]) : sum;
        }
}

INLINE void matmul_f32(
    const void *matrix, row_decoder *decode, const uint16_t *bias, const shoal_f32_rows *x, size_t row_begin,
    size_t row_end, float *y, size_t y_stride) {
    for (size_t n = row_begin; n < row_end;) {
        int rows = n + F32_ROWS <= row_end ? F32_ROWS : 1;
        for (size_t t = 0; t < x->rows; t += CHUNK_TOKENS) {
            size_t tokens = x->rows - t < CHUNK_TOKENS ? x->rows - t : CHUNK_TOKENS;
            const float *u = x->values + t * x->columns;
            if (rows > 1)
                f32_row_group(matrix, decode, bias, F32_ROWS, n, u, tokens, x->columns, y + t * y_stride, y_stride);
            else
                f32_row_group(matrix, decode, bias, 1, n, u, tokens, x->columns, y + t * y_stride, y_stride);
        }
        n += (size_t)rows;
    }
}

static void decode_mxfp4_row(const void *matrix, size_t n, size_t column, size_t width, float *out) {
    const shoal_mxfp4_matrix *w = matrix;
    size_t block = (n * w->columns + column) / SHOAL_BLOCK;
    dequantize_mxfp4(w->blocks + block * SHOAL_BLOCK / 2, w->scales + block, width / SHOAL_BLOCK, out);
}

static void decode_bf16_row(const void *matrix, size_t n, size_t column, size_t width, float *out) {
    const shoal_bf16_matrix *w = matrix;
    const uint16_t *row = w->values + n * w->columns + column;
    // The last vector is stored whole, so that the products may read it whole; SLICE_COLUMNS leaves room for it.
    for (size_t k = 0; k < width; k += LANES) {
        ask_for((uintptr_t)(row + k) + F32_ROWS * w->columns * sizeof *row);
        store(out + k, load_bf16(row + k, width - k), LANES);
    }
}

static void matmul_mxfp4_f32(
    const shoal_mxfp4_matrix *w, const shoal_f32_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    matmul_f32(w, decode_mxfp4_row, w->bias, x, row_begin, row_end, y, y_stride);
}

static void matmul_bf16_f32(
    const shoal_bf16_matrix *w, const shoal_f32_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    matmul_f32(w, decode_bf16_row, w->bias, x, row_begin, row_end, y, y_stride);
}

#endif
