// Attention over pages of keys and values, written once for every instruction set that has `vectors.h`.
// The including file chooses how much fits its registers: ATTENTION_KEYS keys of two heads at once in the scores, and
// ATTENTION_CHUNKS vectors of ATTENTION_HEADS heads in the sums of values.
#ifndef SHOAL_ATTENTION_H
#define SHOAL_ATTENTION_H

#include "elementwise.h"

/// Walks the positions of a sequence through its pages.
typedef struct {
    const shoal_kv_pages *kv;
    const void *const *pages;
    size_t kv_head, page, slot;
} kv_cursor;

INLINE kv_cursor kv_at(const shoal_kv_pages *kv, const void *const *pages, size_t kv_head, size_t position) {
    return (kv_cursor){kv, pages, kv_head, position / kv->page_tokens, position % kv->page_tokens};
}

/// The row at the cursor, which then moves one position on.
INLINE const char *kv_next(kv_cursor *cursor, size_t element_size) {
    const shoal_kv_pages *kv = cursor->kv;
    const char *page = cursor->pages[cursor->page];
    const char *row = page + (cursor->kv_head * kv->page_tokens + cursor->slot) * kv->head_dim * element_size;
    if (++cursor->slot == kv->page_tokens) {
        cursor->slot = 0;
        cursor->page++;
    }
    return row;
}

INLINE f32x16 load_kv(const char *row, size_t index, size_t left, int is_bf16) {
    return is_bf16 ? load_bf16((const uint16_t *)row + index, left) : load((const float *)row + index, left);
}

#define KEYS 8  // two heads and eight keys make sixteen sums, which are reduced together

/// One vector of elements, of which `left` exist, for each head and for the ATTENTION_KEYS keys from `first` on.
INLINE void score_step(
    int heads, int first, int is_bf16, const float *q, const char *const rows[KEYS], size_t dim, size_t d, size_t left,
    f32x16 sums[2 * KEYS]) {
    f32x16 query[2];
    for (int h = 0; h < heads; h++) query[h] = load(q + (size_t)h * dim + d, left);
    for (int j = first; j < first + ATTENTION_KEYS; j++) {
        f32x16 key = load_kv(rows[j], d, left, is_bf16);
        for (int h = 0; h < heads; h++) sums[h * KEYS + j] = accumulate(query[h], key, sums[h * KEYS + j], left);
    }
}

/// score[h][i] = dot(q[h], key i) * scale for one or two heads.
INLINE void attention_scores(
    kv_cursor cursor, int heads, int is_bf16, const float *q, float scale, size_t keys, float *scores) {
    size_t dim = cursor.kv->head_dim;
    for (size_t i = 0; i < keys; i += KEYS) {
        size_t present = keys - i < KEYS ? keys - i : KEYS;
        const char *rows[KEYS];
        for (size_t j = 0; j < KEYS; j++) rows[j] = j < present ? kv_next(&cursor, is_bf16 ? 2 : 4) : rows[0];
        f32x16 sums[2 * KEYS];
        for (int j = 0; j < 2 * KEYS; j++) sums[j] = splat(0);
        for (int first = 0; first < KEYS; first += ATTENTION_KEYS) {
            size_t d = 0;
            for (; d + LANES <= dim; d += LANES) score_step(heads, first, is_bf16, q, rows, dim, d, LANES, sums);
            if (d < dim) score_step(heads, first, is_bf16, q, rows, dim, d, dim - d, sums);
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
    kv_cursor cursor, int heads, int chunks, size_t last_left, int is_bf16, const float *p, size_t keys,
    const float *denominators, size_t d, float *out) {
    size_t dim = cursor.kv->head_dim;
    f32x16 sums[ATTENTION_HEADS * ATTENTION_CHUNKS];
    for (int j = 0; j < heads * chunks; j++) sums[j] = splat(0);
    for (size_t i = 0; i < keys; i++) {
        const char *row = kv_next(&cursor, is_bf16 ? 2 : 4);
        for (int c = 0; c < chunks; c++) {
            size_t at = d + (size_t)c * LANES;
            f32x16 value = load_kv(row, at, c + 1 < chunks ? LANES : last_left, is_bf16);
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
    kv_cursor cursor, int heads, int is_bf16, const float *p, size_t keys, const float *denominators, float *out) {
    size_t dim = cursor.kv->head_dim, d = 0;
    for (; d + ATTENTION_CHUNKS * LANES <= dim; d += ATTENTION_CHUNKS * LANES)
        attention_values(cursor, heads, ATTENTION_CHUNKS, LANES, is_bf16, p, keys, denominators, d, out);
    for (; d + LANES <= dim; d += LANES)
        attention_values(cursor, heads, 1, LANES, is_bf16, p, keys, denominators, d, out);
    if (d < dim) attention_values(cursor, heads, 1, dim - d, is_bf16, p, keys, denominators, d, out);
}

INLINE void attention_of(
    const shoal_kv_pages *kv, int is_bf16, size_t kv_head, size_t group, const float *q, const uint16_t *sinks,
    float scale, size_t first, size_t last, float *scores, float *denominators, float *out) {
    size_t keys = last - first + 1, dim = kv->head_dim;
    kv_cursor key = kv_at(kv, kv->key_pages, kv_head, first), value = kv_at(kv, kv->value_pages, kv_head, first);
    size_t h = 0;
    for (; h + 2 <= group; h += 2) attention_scores(key, 2, is_bf16, q + h * dim, scale, keys, scores + h * keys);
    if (h < group) attention_scores(key, 1, is_bf16, q + h * dim, scale, keys, scores + h * keys);

    for (h = 0; h < group; h++) {
        float *score = scores + h * keys, sink = shoal_bf16(sinks[h]);
        float maximum = maximum_of(score, keys, sink);
        denominators[h] = sum_exp(score, keys, maximum, score) + shoal_exp(sink - maximum);
    }

    for (h = 0; h < group;) {
        int heads = h + ATTENTION_HEADS <= group ? ATTENTION_HEADS : 1;
        if (heads > 1)
            attention_heads(value, ATTENTION_HEADS, is_bf16, scores + h * keys, keys, denominators + h, out + h * dim);
        else
            attention_heads(value, 1, is_bf16, scores + h * keys, keys, denominators + h, out + h * dim);
        h += (size_t)heads;
    }
}

static void attention(
    const shoal_kv_pages *kv, size_t kv_head, size_t group, const float *q, const uint16_t *sinks, float scale,
    size_t first, size_t last, float *scores, float *denominators, float *out) {
    if (kv->is_bf16)
        attention_of(kv, 1, kv_head, group, q, sinks, scale, first, last, scores, denominators, out);
    else
        attention_of(kv, 0, kv_head, group, q, sinks, scale, first, last, scores, denominators, out);
}

#endif
