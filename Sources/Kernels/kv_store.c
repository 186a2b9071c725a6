// Keys and values on their way into a page: rounded by the fastest kernels, whose bytes are the same everywhere.
#include "kernels_internal.h"

/// Writes up to a block of one row's elements so that they lie `stride` elements apart. `out`: the first; `scale`:
/// where an int8 block's scale goes.
static void store_block(
    const shoal_kernels *kernels, shoal_kv_format format, const float *x, size_t width, char *out, size_t stride,
    char *scale) {
    int8_t bytes[SHOAL_BLOCK];
    uint16_t halves[SHOAL_BLOCK];
    switch (format) {
        case SHOAL_KV_F32:
            for (size_t i = 0; i < width; i++) memcpy(out + i * stride * sizeof *x, x + i, sizeof *x);
            break;
        case SHOAL_KV_BF16:
            kernels->f32_to_bf16(x, width, halves);
            for (size_t i = 0; i < width; i++) memcpy(out + i * stride * sizeof *halves, halves + i, sizeof *halves);
            break;
        case SHOAL_KV_Q8:
            kernels->quantize_q8(x, width, bytes, halves);
            for (size_t i = 0; i < SHOAL_BLOCK; i++) memcpy(out + i * stride, bytes + i, 1);
            memcpy(scale, halves, sizeof *halves);
            break;
    }
}

void shoal_kv_store(
    const shoal_kv_pages *kv, char *pool, size_t kv_head, size_t position, const float *key, const float *value) {
    const shoal_kernels *kernels = shoal_kernels_named(NULL);
    size_t slot = position % kv->page_tokens, blocks = (kv->head_dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK;
    size_t element = kv->format == SHOAL_KV_F32 ? sizeof(float) : kv->format == SHOAL_KV_BF16 ? sizeof(uint16_t) : 1;
    char *keys = pool + shoal_kv_head_offset(kv, kv->keys, kv_head, position);
    char *row = pool + shoal_kv_head_offset(kv, kv->values, kv_head, position) +
                slot * shoal_kv_row_bytes(kv->format, kv->head_dim);
    for (size_t b = 0; b < blocks; b++) {
        size_t from = b * SHOAL_BLOCK, left = kv->head_dim - from, width = left < SHOAL_BLOCK ? left : SHOAL_BLOCK;
        store_block(
            kernels, kv->format, key + from, width, keys + (from * kv->page_tokens + slot) * element, kv->page_tokens,
            keys + blocks * SHOAL_BLOCK * kv->page_tokens + (b * kv->page_tokens + slot) * sizeof(uint16_t));
        store_block(
            kernels, kv->format, value + from, width, row + from * element, 1,
            row + blocks * SHOAL_BLOCK + b * sizeof(uint16_t));
    }
}
