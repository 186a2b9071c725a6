// The scales of MXFP4 blocks, sixteen rows at a time.
#ifndef SHOAL_MXFP4_SCALES_H
#define SHOAL_MXFP4_SCALES_H

#include "vectors.h"

#define SCALES_AT_ONCE 16  // blocks whose scales are read together


// Beside an integer dot product a scale is wanted as an anchor: the float 1.5 * 2^23 * scale. An integer added to its
// bits adds as many scales to its value, exactly, and the anchor is then subtracted again: a conversion and a
// multiplication for the price of a subtraction, on execution units that the dot products leave free.

/// 1.5 * 2^23 * 2^(scale - 128) in bfloat16, which holds it, for two scales in each lane.
INLINE u32x16 upper_half_of_anchors(i16x32 scales) {
    scales = __builtin_elementwise_min(scales, (i16x32)SHOAL_MXFP4_MOST_SCALE);
    return (u32x16)((scales << 7) + (22 << 7 | 0x40));
}

/// Block after block from `block` on, the anchors of sixteen rows of `row_blocks` blocks each. There is room for
/// those of sixteen blocks, although `blocks` may be fewer.
INLINE void mxfp4_anchors(
    const uint8_t *const rows[SHOAL_TILE_ROWS], size_t row_blocks, size_t block, size_t blocks, float *anchors) {
    uint8_t some[SHOAL_TILE_ROWS][SCALES_AT_ONCE];
    const uint8_t *copies[SHOAL_TILE_ROWS];
    const uint8_t *const *from = rows;
    size_t first = block + SCALES_AT_ONCE <= row_blocks ? block : row_blocks - SCALES_AT_ONCE;
    if (row_blocks < SCALES_AT_ONCE) {
        for (size_t r = 0; r < SHOAL_TILE_ROWS; r++) {
            memcpy(some[r], rows[r], row_blocks);
            copies[r] = some[r];
        }
        from = copies;
        first = 0;
    }
    i32x16 words[SCALES_AT_ONCE / 4];
    words_of_rows(from, first, words);
    float all[SCALES_AT_ONCE * LANES] __attribute__((aligned(64)));
    float *out = first == block ? anchors : all;
#pragma clang loop unroll(full)
    for (size_t i = 0; i < SCALES_AT_ONCE / 4; i++) {
        // Two scales in each lane, of the blocks 0 and 2, and 1 and 3.
        u32x16 even = upper_half_of_anchors((i16x32)(words[i] & 0x00ff00ff));
        u32x16 odd = upper_half_of_anchors((i16x32)((u32x16)words[i] >> 8 & 0x00ff00ff));
        store(out + i * 4 * LANES, from_bits(even << 16), LANES);
        store(out + (i * 4 + 1) * LANES, from_bits(odd << 16), LANES);
        store(out + (i * 4 + 2) * LANES, from_bits(even & 0xffff0000u), LANES);
        store(out + (i * 4 + 3) * LANES, from_bits(odd & 0xffff0000u), LANES);
    }
    if (out == all) memcpy(anchors, all + (block - first) * LANES, blocks * LANES * sizeof *anchors);
}

#endif
