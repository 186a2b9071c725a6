// Attention over pages of keys and values, written once for every instruction set that has `vectors.h`.
// The including file chooses how much fits its registers: ATTENTION_KEYS keys of two heads at once in the scores, and
// ATTENTION_CHUNKS vectors of ATTENTION_HEADS heads in the sums of values.
#ifndef SHOAL_ATTENTION_H
#define SHOAL_ATTENTION_H

#include "elementwise.h"

/// Walks the rows of a sequence's positions through its pages.
typedef struct {
    const shoal_kv_pages *kv;
    const char *first;      // the head's first row, were it in page 0
    const uint32_t *block;  // the current page's entry in the table
    const char *row;        // the next row
    size_t left;            // rows of the current page from there on
    size_t row_bytes;
} kv_cursor;

INLINE kv_cursor kv_at(
    const shoal_kv_pages *kv, shoal_kv_format format, size_t plane, size_t kv_head, size_t position) {
    kv_cursor cursor = {.kv = kv, .row_bytes = shoal_kv_row_bytes(format, kv->head_dim)};
    size_t slot = position % kv->page_tokens;
    cursor.first = kv->pool + plane + kv_head * kv->page_tokens * cursor.row_bytes;
    cursor.block = kv->pages + position / kv->page_tokens;
    cursor.row = cursor.first + *cursor.block * kv->page_bytes + slot * cursor.row_bytes;
    cursor.left = kv->page_tokens - slot;
    return cursor;
}

/// The row at the cursor, which then moves one position on. A page's entry is read only when a row of it is wanted.
INLINE const char *kv_next(kv_cursor *cursor) {
    if (cursor->left == 0) {
        cursor->row = cursor->first + *++cursor->block * cursor->kv->page_bytes;
        cursor->left = cursor->kv->page_tokens;
    }
    const char *row = cursor->row;
    cursor->row += cursor->row_bytes;
    cursor->left--;
    return row;
}

/// Sixteen elements of a row from `index` on, of which `left` exist. int8 rows are padded, so that all sixteen can be
/// read.
INLINE f32x16 load_kv(const char *row, size_t dim, size_t index, size_t left, shoal_kv_format format) {
    if (format == SHOAL_KV_F32) return load((const float *)(const void *)row + index, left);
    if (format == SHOAL_KV_BF16) return load_bf16((const uint16_t *)(const void *)row + index, left);
    size_t padded = (dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK * SHOAL_BLOCK;
    i8x16 values;
    uint16_t scale;
    memcpy(&values, row + index, sizeof values);
    memcpy(&scale, row + padded + index / SHOAL_BLOCK * sizeof scale, sizeof scale);
    return __builtin_convertvector(__builtin_convertvector(values, i32x16), f32x16) * splat_bf16(scale);
}

#define KEYS 8  // two heads and eight keys make sixteen sums, which are reduced together

/// One vector of elements, of which `left` exist, for each head and for the ATTENTION_KEYS keys from `first` on.
INLINE void score_step(
    int heads, int first, shoal_kv_format format, const float *q, const char *const rows[KEYS], size_t dim, size_t d,
    size_t left, f32x16 sums[2 * KEYS]) {
    f32x16 query[2];
    for (int h = 0; h < heads; h++) query[h] = load(q + (size_t)h * dim + d, left);
    for (int j = first; j < first + ATTENTION_KEYS; j++) {
        f32x16 key = load_kv(rows[j], dim, d, left, format);
        for (int h = 0; h < heads; h++) sums[h * KEYS + j] = accumulate(query[h], key, sums[h * KEYS + j], left);
    }
}

/// score[h][i] = dot(q[h], key i) * scale for one or two heads.
INLINE void attention_scores(
    kv_cursor cursor, int heads, shoal_kv_format format, const float *q, float scale, size_t keys, float *scores) {
    size_t dim = cursor.kv->head_dim;
    for (size_t i = 0; i < keys; i += KEYS) {
        size_t present = keys - i < KEYS ? keys - i : KEYS;
        const char *rows[KEYS];
        for (size_t j = 0; j < KEYS; j++) rows[j] = j < present ? kv_next(&cursor) : rows[0];
        f32x16 sums[2 * KEYS];
        for (int j = 0; j < 2 * KEYS; j++) sums[j] = splat(0);
        for (int first = 0; first < KEYS; first += ATTENTION_KEYS) {
            size_t d = 0;
            for (; d + LANES <= dim; d += LANES) score_step(heads, first, format, q, rows, dim, d, LANES, sums);
            if (d < dim) score_step(heads, first, format, q, rows, dim, d, dim - d, sums);
        }
        float dots[2 * KEYS];
        store(dots, reduce_each(sums) * scale, 2 * KEYS);
        for (int h = 0; h < heads; h++)
            memcpy(scores + (size_t)h * keys + i, dots + h * KEYS, present * sizeof *scores);
    }
}

/// out[h][d...] = (Σ p[h] v[d...]) / denominator for `heads` heads and `chunks` vectors of elements, the last of which
/// has `last_left` of them.
INLINE void attention_values(
    kv_cursor cursor, int heads, int chunks, size_t last_left, shoal_kv_format format, const float *p, size_t keys,
    const float *denominators, size_t d, float *out) {
    size_t dim = cursor.kv->head_dim;
    f32x16 sums[ATTENTION_HEADS * ATTENTION_CHUNKS];
    for (int j = 0; j < heads * chunks; j++) sums[j] = splat(0);
    for (size_t i = 0; i < keys; i++) {
        const char *row = kv_next(&cursor);
        for (int c = 0; c < chunks; c++) {
            size_t at = d + (size_t)c * LANES;
            f32x16 value = load_kv(row, dim, at, c + 1 < chunks ? LANES : last_left, format);
            for (int h = 0; h < heads; h++)
                sums[h * chunks + c] = fma16(splat(p[(size_t)h * keys + i]), value, sums[h * chunks + c]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int c = 0; c < chunks; c++) {
            size_t at = d + (size_t)c * LANES;
            size_t left = c + 1 < chunks ? LANES : last_left;
            store(out + (size_t)h * dim + at, sums[h * chunks + c] / denominators[h], left);
        }
}

/// All elements of `heads` heads.
INLINE void attention_heads(
    kv_cursor cursor, int heads, shoal_kv_format format, const float *p, size_t keys, const float *denominators,
    float *out) {
    size_t dim = cursor.kv->head_dim, d = 0;
    for (; d + ATTENTION_CHUNKS * LANES <= dim; d += ATTENTION_CHUNKS * LANES)
        attention_values(cursor, heads, ATTENTION_CHUNKS, LANES, format, p, keys, denominators, d, out);
    for (; d + LANES <= dim; d += LANES)
        attention_values(cursor, heads, 1, LANES, format, p, keys, denominators, d, out);
    if (d < dim) attention_values(cursor, heads, 1, dim - d, format, p, keys, denominators, d, out);
}

INLINE void attention_of(
    const shoal_kv_pages *kv, shoal_kv_format format, size_t kv_head, size_t group, const float *q,
    const uint16_t *sinks, float scale, size_t first, size_t last, float *scores, float *denominators, float *out) {
    size_t keys = last - first + 1, dim = kv->head_dim;
    kv_cursor key = kv_at(kv, format, kv->keys, kv_head, first);
    kv_cursor value = kv_at(kv, format, kv->values, kv_head, first);
    size_t h = 0;
    for (; h + 2 <= group; h += 2) attention_scores(key, 2, format, q + h * dim, scale, keys, scores + h * keys);
    if (h < group) attention_scores(key, 1, format, q + h * dim, scale, keys, scores + h * keys);

    for (h = 0; h < group; h++) {
        float *score = scores + h * keys, sink = shoal_bf16(sinks[h]);
        float maximum = maximum_of(score, keys, sink);
        denominators[h] = sum_exp(score, keys, maximum, score) + shoal_exp(sink - maximum);
    }

    for (h = 0; h < group;) {
        int heads = h + ATTENTION_HEADS <= group ? ATTENTION_HEADS : 1;
        if (heads > 1)
            attention_heads(value, ATTENTION_HEADS, format, scores + h * keys, keys, denominators + h, out + h * dim);
        else
            attention_heads(value, 1, format, scores + h * keys, keys, denominators + h, out + h * dim);
        h += (size_t)heads;
    }
}

static void attention(
    const shoal_kv_pages *kv, size_t kv_head, size_t group, const float *q, const uint16_t *sinks, float scale,
    size_t first, size_t last, float *scores, float *denominators, float *out) {
    // One compilation for each format: inside the loops it is a constant.
    switch (kv->format) {
        case SHOAL_KV_F32:
            return attention_of(
                kv, SHOAL_KV_F32, kv_head, group, q, sinks, scale, first, last, scores, denominators, out);
        case SHOAL_KV_BF16:
            return attention_of(
                kv, SHOAL_KV_BF16, kv_head, group, q, sinks, scale, first, last, scores, denominators, out);
        case SHOAL_KV_Q8:
            return attention_of(
                kv, SHOAL_KV_Q8, kv_head, group, q, sinks, scale, first, last, scores, denominators, out);
    }
}

#endif
