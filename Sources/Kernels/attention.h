// Attention over pages of keys and values, written once for every instruction set that has `vectors.h`.
// The including file chooses how much fits its registers: ATTENTION_SCORES vectors of scores, for
// ATTENTION_SCORE_HEADS heads, and ATTENTION_CHUNKS vectors of values, one or an even number, for each of ATTENTION_HEADS.
#ifndef SHOAL_ATTENTION_H
#define SHOAL_ATTENTION_H

#include "elementwise.h"

/// A page is asked for while this many before it are worked on: each lies elsewhere, which the hardware cannot foresee.
#define PAGES_AHEAD 2

/// Positions whose values are added up for all heads before the next ones', so that they stay in the core's own caches
/// meanwhile. A sum goes on where it was, so that its value does not depend on this.
#define VALUES_AT_ONCE 256

/// Heads that are worked on together.
#define GROUP_HEADS 8

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

INLINE f32x16 load_int8(const char *elements) {
    i8x16 values;
    memcpy(&values, elements, sizeof values);
    return __builtin_convertvector(__builtin_convertvector(values, i32x16), f32x16);
}

/// Thirty-two elements. Those of bfloat16 come as the even ones and the odd ones, which a shift and a mask give, where
/// bringing them in order would cost as much again.
INLINE void load_two(const char *elements, shoal_kv_format format, f32x16 two[2]) {
    if (format == SHOAL_KV_BF16) {
        u32x16 pairs;
        memcpy(&pairs, elements, sizeof pairs);
        two[0] = from_bits(pairs << 16);
        two[1] = from_bits(pairs & 0xffff0000u);
    } else if (format == SHOAL_KV_F32) {
        memcpy(two, elements, 2 * sizeof *two);
    } else {
        for (int i = 0; i < 2; i++) two[i] = load_int8(elements + i * LANES);
    }
}

/// From the order in which `load_two` gives elements to their own, and back.
INLINE void bring_in_order(shoal_kv_format format, f32x16 two[2]) {
    if (format != SHOAL_KV_BF16) return;
    f32x16 even = two[0], odd = two[1];
    two[0] = SHUFFLE(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    two[1] = SHUFFLE(even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
INLINE void bring_apart(shoal_kv_format format, f32x16 two[2]) {
    if (format != SHOAL_KV_BF16) return;
    f32x16 low = two[0], high = two[1];
    two[0] = SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    two[1] = SHUFFLE(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

/// In every lane the scale of a row's int8 element `index`.
INLINE f32x16 scale_of(const char *row, size_t dim, size_t index) {
    size_t padded = (dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK * SHOAL_BLOCK;
    uint16_t scale;
    memcpy(&scale, row + padded + index / SHOAL_BLOCK * sizeof scale, sizeof scale);
    return splat_bf16(scale);
}

/// Sixteen elements of a row from `index` on, of which `left` exist. int8 rows are padded, so that all sixteen can be
/// read.
INLINE f32x16 load_kv(const char *row, size_t dim, size_t index, size_t left, shoal_kv_format format) {
    if (format == SHOAL_KV_F32) return load((const float *)(const void *)row + index, left);
    if (format == SHOAL_KV_BF16) return load_bf16((const uint16_t *)(const void *)row + index, left);
    return load_int8(row + index) * scale_of(row, dim, index);
}

/// Thirty-two of them, as `load_two` gives them.
INLINE void load_two_kv(const char *row, size_t dim, size_t index, shoal_kv_format format, f32x16 two[2]) {
    load_two(row + index * element_bytes(format), format, two);
    if (format != SHOAL_KV_Q8) return;
    for (size_t i = 0; i < 2; i++) two[i] *= scale_of(row, dim, index + i * LANES);
}

/// One element of sixteen keys, or of twice sixteen, as they lie one behind the other in a page, without their scales.
INLINE void load_keys(int vectors, const char *keys, shoal_kv_format format, f32x16 *out) {
    if (vectors == 2)
        load_two(keys, format, out);
    else
        *out = format == SHOAL_KV_Q8 ? load_int8(keys) : load_kv(keys, LANES, 0, LANES, format);
}

/// sums[h * vectors + v] += q[h][begin..<end] · those elements of the keys, while those that lie `ahead` are asked for. The
/// keys are in the order in which they are loaded.
INLINE void add_scores(
    int heads, int vectors, const char *keys, ptrdiff_t ahead, shoal_kv_format format, size_t page_tokens, size_t slot,
    const float *q, size_t dim, size_t begin, size_t end, f32x16 *sums) {
    size_t element = element_bytes(format);
    f32x16 own[ATTENTION_SCORES];  // which no pointer leads to, and so stay in registers
#pragma clang loop unroll(full)
    for (int j = 0; j < heads * vectors; j++) own[j] = sums[j];
    for (size_t d = begin; d < end; d++) {
        const char *elements = keys + (d * page_tokens + slot) * element;
        ask_for((uintptr_t)elements + (uintptr_t)ahead);
        f32x16 key[2];
        load_keys(vectors, elements, format, key);
#pragma clang loop unroll(full)
        for (int h = 0; h < heads; h++)
            for (int v = 0; v < vectors; v++)
                own[h * vectors + v] = fma16(splat(q[(size_t)h * dim + d]), key[v], own[h * vectors + v]);
    }
#pragma clang loop unroll(full)
    for (int j = 0; j < heads * vectors; j++) sums[j] = own[j];
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

/// score[h][i] = dot(q[h], key i) * scale, sixteen keys at a time, or twice sixteen where a page has as many to come. The
/// lanes of largest[h] grow to the largest scores.
INLINE void attention_scores(
    int heads, const shoal_kv_pages *kv, shoal_kv_format format, size_t kv_head, const float *q, float scale,
    size_t first, size_t last, float *scores, f32x16 *largest) {
    size_t keys = last - first + 1;
    f32x16 maxima[ATTENTION_SCORES];  // `largest`, to which stores of scores could not lead
    for (int h = 0; h < heads; h++) maxima[h] = largest[h];
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
        for (size_t h = 0; vectors == 2 && h < (size_t)heads; h++) bring_in_order(format, dots + h * 2);
        for (size_t v = 0; v < vectors; v++) {
            size_t from = at + v * LANES, begin = from < first ? first : from, end = smaller(from + LANES, last + 1);
            for (size_t h = 0; h < (size_t)heads; h++) {
                f32x16 score = dots[h * vectors + v] * scale;
                float *out = scores + h * keys + begin - first;
                if (end - begin == LANES) {
                    store(out, score, LANES);
                    maxima[h] = larger(score, maxima[h]);
                    continue;
                }
                for (size_t lane = begin - from; lane < end - from; lane++) {
                    *out++ = score[lane];
                    if (score[lane] > maxima[h][0]) maxima[h][0] = score[lane];
                }
            }
        }
    }
    for (int h = 0; h < heads; h++) largest[h] = maxima[h];
}

/// out[h][d...] += Σ p[h][i] v[i][d...] of `count` positions, for `heads` heads and an even number `chunks` of vectors of
/// elements; or for a single one, of which `left` elements exist.
INLINE void attention_values(
    kv_cursor cursor, int heads, int chunks, size_t left, shoal_kv_format format, const float *p, size_t keys,
    size_t count, size_t d, float *out) {
    size_t dim = cursor.kv->head_dim, element = element_bytes(format);
    f32x16 sums[ATTENTION_HEADS * ATTENTION_CHUNKS];
    for (int h = 0; h < heads; h++) {
        for (int c = 0; c < chunks; c++)
            sums[h * chunks + c] = load(out + (size_t)h * dim + d + (size_t)c * LANES, left);
        for (int c = 0; c + 1 < chunks; c += 2) bring_apart(format, sums + h * chunks + c);
    }
    for (size_t i = 0; i < count; i++) {
        const char *row = kv_next(&cursor);
        f32x16 values[ATTENTION_CHUNKS];
        for (int c = 0; c < chunks; c++) {
            size_t at = d + (size_t)c * LANES;
            if ((size_t)c * LANES * element % 64 == 0) ask_for((uintptr_t)row + (uintptr_t)cursor.ahead + at * element);
            if (chunks == 1)
                values[c] = load_kv(row, dim, at, left, format);
            else if (c % 2 == 0)
                load_two_kv(row, dim, at, format, values + c);
        }
        for (int h = 0; h < heads; h++)
            for (int c = 0; c < chunks; c++)
                sums[h * chunks + c] = fma16(splat(p[(size_t)h * keys + i]), values[c], sums[h * chunks + c]);
    }
    for (int h = 0; h < heads; h++) {
        for (int c = 0; c + 1 < chunks; c += 2) bring_in_order(format, sums + h * chunks + c);
        for (int c = 0; c < chunks; c++)
            store(out + (size_t)h * dim + d + (size_t)c * LANES, sums[h * chunks + c], left);
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

/// `heads` heads, at most GROUP_HEADS.
INLINE void attention_group(
    const shoal_kv_pages *kv, shoal_kv_format format, size_t kv_head, int heads, const float *q, const uint16_t *sinks,
    float scale, size_t first, size_t last, float *scores, float *denominators, float *out) {
    size_t keys = last - first + 1, dim = kv->head_dim;
    f32x16 largest[GROUP_HEADS], sums[GROUP_HEADS];
    for (int j = 0; j < heads; j++) {
        largest[j] = splat(shoal_bf16(sinks[j]));
        sums[j] = splat(0);
    }
    int h = 0;
    for (; h + ATTENTION_SCORE_HEADS <= heads; h += ATTENTION_SCORE_HEADS)
        attention_scores(
            ATTENTION_SCORE_HEADS, kv, format, kv_head, q + (size_t)h * dim, scale, first, last,
            scores + (size_t)h * keys, largest + h);
    for (; h < heads; h++)
        attention_scores(
            1, kv, format, kv_head, q + (size_t)h * dim, scale, first, last, scores + (size_t)h * keys, largest + h);

    float maxima[GROUP_HEADS];
    for (h = 0; h < heads; h++) maxima[h] = largest_of(largest[h]);
    memset(out, 0, (size_t)heads * dim * sizeof *out);
    for (size_t at = 0; at < keys; at += VALUES_AT_ONCE) {
        kv_cursor value = kv_at(kv, format, kv_head, first + at, last);
        size_t count = smaller(VALUES_AT_ONCE, keys - at);
        for (h = 0; h < heads; h++) {
            float *score = scores + (size_t)h * keys + at;
            // Lest memory rest meanwhile: the first lines of the next values, of another page for each head.
            size_t later = first + at + VALUES_AT_ONCE + (size_t)h * kv->page_tokens;
            const char *page =
                later <= last ? value.first + kv->pages[later / kv->page_tokens] * kv->page_bytes : value.row;
            for (size_t i = 0; i < count; i += LANES) {
                ask_for((uintptr_t)page + i / LANES * 64);
                sums[h] = add_exp(sums[h], score + i, count - i, maxima[h], score + i);
            }
        }
        for (h = 0; h + ATTENTION_HEADS <= heads; h += ATTENTION_HEADS)
            attention_heads(
                value, ATTENTION_HEADS, format, scores + (size_t)h * keys + at, keys, count, out + (size_t)h * dim);
        for (; h < heads; h++)
            attention_heads(value, 1, format, scores + (size_t)h * keys + at, keys, count, out + (size_t)h * dim);
    }
    for (h = 0; h < heads; h++) {
        denominators[h] = reduce(sums[h]) + shoal_exp(shoal_bf16(sinks[h]) - maxima[h]);
        for (size_t d = 0; d < dim; d++) out[(size_t)h * dim + d] /= denominators[h];
    }
}

INLINE void attention_of(
    const shoal_kv_pages *kv, shoal_kv_format format, size_t kv_head, size_t group, const float *q,
    const uint16_t *sinks, float scale, size_t first, size_t last, float *scores, float *denominators, float *out) {
    for (size_t h = 0; h < group; h += GROUP_HEADS)
        attention_group(
            kv, format, kv_head, (int)smaller(GROUP_HEADS, group - h), q + h * kv->head_dim, sinks + h, scale, first,
            last, scores + h * (last - first + 1), denominators + h, out + h * kv->head_dim);
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
