// Filling a slice of activations.
#ifndef SHOAL_Q8_FILL_H
#define SHOAL_Q8_FILL_H

#include "mxfp4_few.h"

/// The sums of sixteen blocks.
INLINE i32x16 sums_of_blocks(const int8_t (*blocks)[SHOAL_BLOCK]) {
    i32x16 parts[4];
    for (int i = 0; i < 4; i++, blocks += 4) {
        i32x16 a, b;
        memcpy(&a, blocks[0], sizeof a), memcpy(&b, blocks[2], sizeof b);
        i8x64 low = (i8x64)SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        i8x64 high = (i8x64)SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        parts[i] = add_dots((i32x16)0, (u8x64)1, low, (u8x64)1, high);
    }
    i32x16 sums = add_parts(parts);  // [4 blocks][4 parts]
    return SHUFFLE(sums, sums, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}

/// What the dot products begin with. Behind the last block of the slice the sums are of whatever is there.
INLINE void q8_slice_offsets(q8_slice *slice, product_kind kind) {
    for (size_t i = 0; i < slice->tokens * slice->blocks; i += LANES) {
        i32x16 sums = sums_of_blocks((const int8_t(*)[SHOAL_BLOCK])(slice->values + i));
        if (kind == Q8_BY_16) sums = sums * 255 + sums_of_blocks((const int8_t(*)[SHOAL_BLOCK])(slice->low + i));
        sums *= -Q8_OFFSET;
        memcpy(slice->offsets + i, &sums, sizeof sums);
    }
}

/// Takes blocks [block, block + slice->blocks) of tokens [token, token + slice->tokens). For MXFP4 the even columns of
/// a block come first and then the odd ones, because decoding yields the weights in that order.
INLINE void q8_slice_fill(
    q8_slice *slice, product_kind kind, const activation_rows *x, size_t token, size_t block) {
    for (size_t group = 0; group < slice->groups; group++) {
        size_t begin = group_begin(slice, group), end = group_begin(slice, group + 1);
        // Token after token, which the hardware foresees: the rows come from beyond the core's own caches.
        for (size_t t = begin; t < end; t++) {
            size_t from = (token + t) * x->blocks + block, to = begin * slice->blocks + t - begin;
            for (size_t b = 0; b < slice->blocks; b++, from++, to += end - begin) {
                i8x32 v;
                memcpy(&v, x->values + from * SHOAL_BLOCK, sizeof v);
                if (kind == MXFP4_BY_8) v = even_then_odd(v) + (i8x32)(int8_t)MXFP4_X_OFFSET;
                memcpy(slice->values[to], &v, sizeof v);
                if (kind == Q8_BY_16) memcpy(slice->low[to], x->low + from * SHOAL_BLOCK, SHOAL_BLOCK);
                slice->scales[to] = shoal_bf16(x->scales[from]);
            }
        }
    }
    if (kind != MXFP4_BY_8) q8_slice_offsets(slice, kind);
}

#endif
