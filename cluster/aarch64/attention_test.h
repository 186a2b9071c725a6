// Attention over pages in any order, and every format of keys and values.
#include "support.h"

enum { KV_HEADS = 2, KV_HEAD = 1 };

/// One head's rows in a page. In int8 any values, those of the padding too, and scales that make them as large as
/// `kind` says: after each row, or, where rows are turned over, after all.
static void fill_head(char *out, const shoal_kv_pages *kv, int is_turned, value_kind kind) {
    size_t count = kv->page_tokens * kv->head_dim;
    if (kv->format == SHOAL_KV_F32) {
        for (size_t i = 0; i < count; i++) ((float *)(void *)out)[i] = random_float(kind);
    } else if (kv->format == SHOAL_KV_BF16) {
        for (size_t i = 0; i < count; i++)
            ((uint16_t *)(void *)out)[i] = (uint16_t)(shoal_bits_of(random_float(kind)) >> 16);
    } else {
        size_t rows = is_turned ? 1 : kv->page_tokens;
        size_t blocks = (kv->head_dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK * (kv->page_tokens / rows);
        for (size_t row = 0; row < rows; row++) {
            for (size_t i = 0; i < blocks * SHOAL_BLOCK; i++) *out++ = (char)(random_word() >> 56);
            for (size_t i = 0; i < blocks; i++, out += sizeof(uint16_t)) {
                uint16_t scale = (uint16_t)(shoal_bits_of(random_float(kind) / 127) >> 16);
                memcpy(out, &scale, sizeof scale);
            }
        }
    }
}

static void try_attention(shoal_kv_format format, size_t dim, value_kind kind) {
    size_t first = random_between(0, 89), last = random_between(first, 89), group = random_between(1, 9);
    size_t page_tokens = random_between(1, 3) * 16, begin = first / page_tokens, end = last / page_tokens + 1;
    size_t head_bytes = page_tokens * shoal_kv_row_bytes(format, dim), plane = KV_HEADS * head_bytes;
    char *pool = guarded((end - begin) * 3 * plane);
    uint32_t *pages = guarded(end * sizeof *pages);
    // Another layer's plane precedes the keys in every page.
    shoal_kv_pages kv = {pool, pages, 3 * plane, plane, 2 * plane, page_tokens, dim, format};
    for (size_t i = 0; i < (end - begin) * 3 * KV_HEADS; i++)
        fill_head(pool + i * head_bytes, &kv, i / KV_HEADS % 3 == 1, kind);
    // In reverse, and none for the blocks before the first visible position.
    for (size_t i = 0; i < end; i++) pages[i] = i < begin ? UINT32_MAX : (uint32_t)(end - 1 - i);

    const float *q = random_floats(kind, group * dim);
    const uint16_t *sinks = random_bfloats(kind, group);
    size_t keys = last - first + 1;
    float *scores[2], *denominators[2], *out[2];
    for (int i = 0; i < 2; i++) {
        scores[i] = results(group * keys), denominators[i] = results(group), out[i] = results(group * dim);
        (i ? scalar : variant)
            ->attention(&kv, KV_HEAD, group, q, sinks, 0.125f, first, last, scores[i], denominators[i], out[i]);
    }
    char context[96];
    snprintf(
        context, sizeof context, "format %d dim %zu group %zu keys %zu to %zu, %s", (int)format, dim, group, first,
        last, kind_names[kind]);
    expect_floats(scores[0], scores[1], group * keys, context);
    expect_floats(denominators[0], denominators[1], group, context);
    expect_floats(out[0], out[1], group * dim, context);
    release();
}

static void test_attention(void) {
    static const size_t dims[] = {6, 15, 16, 24, 32, 33, 48, 64, 80, 112, 128, 136};
    for (value_kind kind = 0; kind < VALUE_KINDS; kind++)
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
            for (shoal_kv_format format = SHOAL_KV_F32; format <= SHOAL_KV_Q8; format++)
                try_attention(format, dims[i], kind);
}
