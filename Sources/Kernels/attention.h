// Attention over pages of keys and values, written once for every instruction set that has `vectors.h`.
// The including file chooses how much fits its registers: ATTENTION_SCORES vectors of scores, for
// ATTENTION_SCORE_HEADS heads, and ATTENTION_CHUNKS vectors of values for each of ATTENTION_HEADS heads.
#ifndef SHOAL_ATTENTION_H
#define SHOAL_ATTENTION_H

#include "elementwise.h"

/// A page is asked for while this many before it are worked on: each lies elsewhere, which the hardware cannot foresee.
#define PAGES_AHEAD 2

/// Positions whose values are added up for all heads, one set of them after the other, before the next ones': they stay in
/// the core's first cache meanwhile. A sum goes on where it was, so that its value does not depend on this.
#define VALUES_AT_ONCE 256

INLINE size_t element_bytes(shoal_kv_format format) {
    return format == SHOAL_KV_F32 ? sizeof(float) : format == SHOAL_KV_BF16 ? sizeof(uint16_t) : sizeof(int8_t);
}

/// Walks the values of a sequence's positions through its pages.
typedef struct {
    const shoal_kv_pages *kv;
    const char *first;           // the head's first row, were it in page 0
    const uint32_t *block;       // the current page's entry in the table
    const uint32_t *last_block;  // that of the last position
    const char *row;             // the next row
    ptrdiff_t ahead;             // from there to a row that will be wanted later
    size_t left;                 // rows of the current page from there on
    size_t row_bytes;
} kv_cursor;

INLINE void kv_look_ahead(kv_cursor *cursor) {
    const uint32_t *later = cursor->block + (cursor->last_block - cursor->block >= PAGES_AHEAD ? PAGES_AHEAD : 0);
    cursor->ahead = ((ptrdiff_t)*later - (ptrdiff_t)*cursor->block) * (ptrdiff_t)cursor->kv->page_bytes;
}

INLINE kv_cursor kv_at(
    const shoal_kv_pages *kv, shoal_kv_format format, size_t kv_head, size_t position, size_t last) {
    kv_cursor cursor = {.kv = kv, .row_bytes = shoal_kv_row_bytes(format, kv->head_dim)};
    size_t slot = position % kv->page_tokens;
    cursor.first = kv->pool + kv->values + kv_head * kv->page_tokens * cursor.row_bytes;
    cursor.block = kv->pages + position / kv->page_tokens;
    cursor.last_block = kv->pages + last / kv->page_tokens;
    cursor.row = cursor.first + *cursor.block * kv->page_bytes + slot * cursor.row_bytes;
    cursor.left = kv->page_tokens - slot;
    kv_look_ahead(&cursor);
    return cursor;
}

/// The row at the cursor, which then moves one position on. A page's entry is read only when a row of it is wanted.
INLINE const char *kv_next(kv_cursor *cursor) {
    if (cursor->left == 0) {
        cursor->row = cursor->first + *++cursor->block * cursor->kv->page_bytes;
        cursor->left = cursor->kv->page_tokens;
        kv_look_ahead(cursor);
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

/// The element `d` of sixteen keys from `slot` on, of a head whose keys in this page begin at `keys`.
INLINE f32x16 load_keys(const char *keys, shoal_kv_format format, size_t page_tokens, size_t d, size_t slot) {
    size_t at = d * page_tokens + slot;
    if (format == SHOAL_KV_F32) return load((const float *)(const void *)keys + at, LANES);
    if (format == SHOAL_KV_BF16) return load_bf16((const uint16_t *)(const void *)keys + at, LANES);
    i8x16 values;
    memcpy(&values, keys + at, sizeof values);
    return __builtin_convertvector(__builtin_convertvector(values, i32x16), f32x16);
}

/// sums[h * vectors + v] += q[h][begin..<end] · those elements of the keys, while those that lie `ahead` are asked for.
INLINE void add_scores(
    int heads, int vectors, const char *keys, ptrdiff_t ahead, shoal_kv_format format, size_t page_tokens, size_t slot,
    const float *q, size_t dim, size_t begin, size_t end, f32x16 *sums) {
    size_t element = element_bytes(format);
    for (size_t d = begin; d < end; d++) {
        __builtin_prefetch(
            (const void *)((uintptr_t)keys + (uintptr_t)ahead + (d * page_tokens + slot) * element));
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) {
            f32x16 key = load_keys(keys, format, page_tokens, d, slot + (size_t)v * LANES);
#pragma clang loop unroll(full)
            for (int h = 0; h < heads; h++)
                sums[h * vectors + v] = fma16(splat(q[(size_t)h * dim + d]), key, sums[h * vectors + v]);
        }
    }
}

/// The dot products of the heads' queries with `vectors` times sixteen keys of one page.
INLINE void dots_of_keys(
    int heads, int vectors, const char *keys, ptrdiff_t ahead, shoal_kv_format format, size_t page_tokens, size_t slot,
    const float *q, size_t dim, f32x16 *dots) {
#pragma clang loop unroll(full)
    for (int j = 0; j < heads * vectors; j++) dots[j] = splat(0);
    if (format != SHOAL_KV_Q8)
        return add_scores(heads, vectors, keys, ahead, format, page_tokens, slot, q, dim, 0, dim, dots);
    const char *scales = keys + (dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK * SHOAL_BLOCK * page_tokens;
    for (size_t d = 0; d < dim; d += SHOAL_BLOCK) {
        f32x16 sums[ATTENTION_SCORES];
#pragma clang loop unroll(full)
        for (int j = 0; j < heads * vectors; j++) sums[j] = splat(0);
        add_scores(
            heads, vectors, keys, ahead, format, page_tokens, slot, q, dim, d, smaller(d + SHOAL_BLOCK, dim), sums);
#pragma clang loop unroll(full)
        for (int j = 0; j < heads * vectors; j++) {
            size_t at = d / SHOAL_BLOCK * page_tokens + slot + (size_t)(j % vectors) * LANES;
            const uint16_t *scale = (const uint16_t *)(const void *)scales + at;
            dots[j] = fma16(sums[j], load_bf16(scale, LANES), dots[j]);
        }
    }
}

/// score[h][i] = dot(q[h], key i) * scale, sixteen keys at a time, or twice sixteen where a page has as many to come.
INLINE void attention_scores(
    int heads, const shoal_kv_pages *kv, shoal_kv_format format, size_t kv_head, const float *q, float scale,
    size_t first, size_t last, float *scores) {
    size_t keys = last - first + 1;
    const int most = ATTENTION_SCORES / heads > 1 ? 2 : 1;
    for (size_t at = first / LANES * LANES, vectors; at <= last; at += vectors * LANES) {
        size_t slot = at % kv->page_tokens;
        const char *page = kv->pool + shoal_kv_head_offset(kv, kv->keys, kv_head, at);
        size_t later = at + PAGES_AHEAD * kv->page_tokens;
        ptrdiff_t ahead = later <= last ? kv->pool + shoal_kv_head_offset(kv, kv->keys, kv_head, later) - page : 0;
        f32x16 dots[ATTENTION_SCORES];
        vectors = most == 2 && slot + 2 * LANES <= kv->page_tokens && at + LANES <= last ? 2 : 1;
        if (vectors == 2)
            dots_of_keys(heads, most, page, ahead, format, kv->page_tokens, slot, q, kv->head_dim, dots);
        else
            dots_of_keys(heads, 1, page, ahead, format, kv->page_tokens, slot, q, kv->head_dim, dots);
        for (size_t v = 0; v < vectors; v++) {
            size_t from = at + v * LANES, begin = from < first ? first : from, end = smaller(from + LANES, last + 1);
            for (size_t h = 0; h < (size_t)heads; h++) {
                f32x16 score = dots[h * vectors + v] * scale;
                memcpy(
                    scores + h * keys + begin - first, (const float *)&score + (begin - from),
                    (end - begin) * sizeof *scores);
            }
        }
    }
}

/// out[h][d...] += Σ p[h][i] v[i][d...] of `count` positions, for `heads` heads and `chunks` vectors of elements, the last
/// of which has `last_left` of them.
INLINE void attention_values(
    kv_cursor cursor, int heads, int chunks, size_t last_left, shoal_kv_format format, const float *p, size_t keys,
    size_t count, size_t d, float *out) {
    size_t dim = cursor.kv->head_dim, element = element_bytes(format);
    f32x16 sums[ATTENTION_HEADS * ATTENTION_CHUNKS];
    for (int h = 0; h < heads; h++)
        for (int c = 0; c < chunks; c++)
            sums[h * chunks + c] =
                load(out + (size_t)h * dim + d + (size_t)c * LANES, c + 1 < chunks ? LANES : last_left);
    for (size_t i = 0; i < count; i++) {
        const char *row = kv_next(&cursor);
        for (int c = 0; c < chunks; c++) {
            size_t at = d + (size_t)c * LANES;
            if ((size_t)c * LANES * element % 64 == 0)
                __builtin_prefetch((const void *)((uintptr_t)row + (uintptr_t)cursor.ahead + at * element));
            f32x16 value = load_kv(row, dim, at, c + 1 < chunks ? LANES : last_left, format);
            for (int h = 0; h < heads; h++)
                sums[h * chunks + c] = fma16(splat(p[(size_t)h * keys + i]), value, sums[h * chunks + c]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int c = 0; c < chunks; c++) {
            size_t at = d + (size_t)c * LANES;
            size_t left = c + 1 < chunks ? LANES : last_left;
            store(out + (size_t)h * dim + at, sums[h * chunks + c], left);
        }
}

/// All elements of `heads` heads.
INLINE void attention_heads(
    kv_cursor cursor, int heads, shoal_kv_format format, const float *p, size_t keys, size_t count, float *out) {
    size_t dim = cursor.kv->head_dim, d = 0;
    for (; d + ATTENTION_CHUNKS * LANES <= dim; d += ATTENTION_CHUNKS * LANES)
        attention_values(cursor, heads, ATTENTION_CHUNKS, LANES, format, p, keys, count, d, out);
    for (; d + LANES <= dim; d += LANES)
        attention_values(cursor, heads, 1, LANES, format, p, keys, count, d, out);
    if (d < dim) attention_values(cursor, heads, 1, dim - d, format, p, keys, count, d, out);
}

INLINE void attention_of(
    const shoal_kv_pages *kv, shoal_kv_format format, size_t kv_head, size_t group, const float *q,
    const uint16_t *sinks, float scale, size_t first, size_t last, float *scores, float *denominators, float *out) {
    size_t keys = last - first + 1, dim = kv->head_dim;
    size_t h = 0;
    for (; h + ATTENTION_SCORE_HEADS <= group; h += ATTENTION_SCORE_HEADS)
        attention_scores(
            ATTENTION_SCORE_HEADS, kv, format, kv_head, q + h * dim, scale, first, last, scores + h * keys);
    for (; h < group; h++)
        attention_scores(1, kv, format, kv_head, q + h * dim, scale, first, last, scores + h * keys);

    for (h = 0; h < group; h++) {
        float *score = scores + h * keys, sink = shoal_bf16(sinks[h]);
        float maximum = maximum_of(score, keys, sink);
        denominators[h] = sum_exp(score, keys, maximum, score) + shoal_exp(sink - maximum);
    }

    memset(out, 0, group * dim * sizeof *out);
    for (size_t at = 0; at < keys; at += VALUES_AT_ONCE) {
        kv_cursor value = kv_at(kv, format, kv_head, first + at, last);
        size_t count = smaller(VALUES_AT_ONCE, keys - at);
        for (h = 0; h + ATTENTION_HEADS <= group; h += ATTENTION_HEADS)
            attention_heads(value, ATTENTION_HEADS, format, scores + h * keys + at, keys, count, out + h * dim);
        for (; h < group; h++)
            attention_heads(value, 1, format, scores + h * keys + at, keys, count, out + h * dim);
    }
    for (h = 0; h < group; h++)
        for (size_t d = 0; d < dim; d++) out[h * dim + d] /= denominators[h];
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
