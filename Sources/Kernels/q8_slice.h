// Activations as the int8 inner loops read them: a slice of the columns of a few tokens, on the stack.
#ifndef SHOAL_Q8_SLICE_H
#define SHOAL_Q8_SLICE_H

#include "vectors.h"

#define SLICE_TOKENS 64    // tokens that share one decoding of the weights
#define SLICE_BLOCKS 2048  // (token, block) pairs in a slice; one token alone has 65,536 columns in it
#define GROUP_BLOCKS 16    // blocks of a tile that are decoded into the first-level cache at once

/// Tokens lie in groups of `stride`, each group block after block, the way the inner loop goes through them.
typedef struct {
    int8_t values[SLICE_BLOCKS][SHOAL_BLOCK];
    int8_t low[SLICE_BLOCKS][SHOAL_BLOCK];  // the second plane of 16-bit activations, else unused
    int32_t offsets[SLICE_BLOCKS];  // what the dot product begins with, to make up for the weights being unsigned
    float scales[SLICE_BLOCKS];
    size_t tokens, blocks, stride;
} q8_slice;

INLINE size_t q8_slice_index(const q8_slice *slice, size_t token, size_t block) {
    return (token / slice->stride * slice->blocks + block) * slice->stride + token % slice->stride;
}

/// What is multiplied: the weights, and the bits of the activations.
typedef enum { MXFP4_BY_8, Q8_BY_8, Q8_BY_16 } product_kind;

/// Activation rows of either width.
typedef struct {
    const int8_t *values;
    const int8_t *low;  // NULL for int8
    const uint16_t *scales;
    size_t rows, blocks;
} activation_rows;

typedef int8_t i8x32 __attribute__((ext_vector_type(32)));

INLINE int32_t sum_of(i8x32 v) {
    typedef int16_t i16x32 __attribute__((ext_vector_type(32)));
    return __builtin_reduce_add(__builtin_convertvector(v, i16x32));
}

/// Asks for the block of a tile that lies `distance` behind this one.
INLINE void prefetch_tile_block(const uint8_t *block, size_t distance) {
    if (distance == 0) return;
    for (size_t line = 0; line < SHOAL_TILE_ROWS * SHOAL_BLOCK; line += 64)
        __builtin_prefetch((const void *)((uintptr_t)block + distance + line));
}

/// Takes blocks [block, block + slice->blocks) of tokens [token, token + slice->tokens). For MXFP4 the even columns of
/// a block come first and then the odd ones, because decoding yields the weights in that order.
INLINE void q8_slice_fill(
    q8_slice *slice, product_kind kind, int32_t weight_offset, const activation_rows *x, size_t token, size_t block) {
    for (size_t t = 0; t < slice->tokens; t++)
        for (size_t b = 0; b < slice->blocks; b++) {
            size_t from = (token + t) * x->blocks + block + b, to = q8_slice_index(slice, t, b);
            i8x32 v;
            memcpy(&v, x->values + from * SHOAL_BLOCK, sizeof v);
            if (kind == MXFP4_BY_8)
                v = SHUFFLE(
                    v, v, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19,
                    21, 23, 25, 27, 29, 31);
            memcpy(slice->values[to], &v, sizeof v);
            int32_t sum = sum_of(v);
            if (kind == Q8_BY_16) {
                memcpy(&v, x->low + from * SHOAL_BLOCK, sizeof v);
                memcpy(slice->low[to], &v, sizeof v);
                sum = sum * 255 + sum_of(v);
            }
            slice->offsets[to] = -weight_offset * sum;
            slice->scales[to] = shoal_bf16(x->scales[from]);
        }
}

#endif
