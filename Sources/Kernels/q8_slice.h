// Activations as the int8 inner loops read them: a slice of the columns of a few tokens, on the stack.
#ifndef SHOAL_Q8_SLICE_H
#define SHOAL_Q8_SLICE_H

#include "vectors.h"

#define SLICE_TOKENS 96   // tokens that share one decoding of the weights
#define SLICE_BLOCKS 8640  // (token, block) pairs in a slice; a multiple of 16
#define GROUP_BLOCKS 16   // at most so many blocks of a tile are decoded into the first-level cache at once

/// What is multiplied: the weights, and the bits of the activations.
typedef enum { MXFP4_BY_8, Q8_BY_8, Q8_BY_16 } product_kind;

/// Tokens lie in `groups` groups whose sizes differ by one at most, each group block after block, the way the inner
/// loop goes through them.
typedef struct {
    int8_t values[SLICE_BLOCKS][SHOAL_BLOCK];  // for MXFP4, MXFP4_X_OFFSET more than they are
    int8_t low[SLICE_BLOCKS][SHOAL_BLOCK];  // the second plane of 16-bit activations, else unused
    int32_t offsets[SLICE_BLOCKS];  // what int8 weights' dot products begin with, to make up for Q8_OFFSET
    float scales[SLICE_BLOCKS];
    size_t tokens, blocks, groups;
    int tiles;  // that the inner loop takes together
} q8_slice;

/// The first token of a group. Its first block is as far along in the slice, in tokens times the slice's blocks.
INLINE size_t group_begin(const q8_slice *slice, size_t group) { return slice->tokens * group / slice->groups; }

/// Activation rows of either width.
typedef struct {
    const int8_t *values;
    const int8_t *low;  // NULL for int8
    const uint16_t *scales;
    size_t rows, blocks;
} activation_rows;

/// Tiles that the inner loop takes together. Two share what is loaded of the activations, which is what decoded weights
/// wait for; int8 ones are read from memory, fastest in one stream, until there are enough tokens to compute for.
INLINE int tiles_at_once(product_kind kind, size_t tokens) {
    return kind == MXFP4_BY_8 || tokens >= PAIRED_TOKENS ? 2 : 1;
}

/// Some blocks of one or two tiles of weight rows, as the inner loop reads them.
typedef struct {
    const uint8_t *values;
    const float *scales;              // [blocks][16 rows]; of MXFP4, their anchors
    const float *starts;              // the bits that MXFP4's dot products begin with, in that order
    size_t values_step, scales_step;  // from the first tile to the second
    uintptr_t ahead;                  // bytes that will be needed later, to be asked for meanwhile:
    size_t ahead_lines;               // so many cache lines with each block
    struct mxfp4_tiles *next;         // blocks to be decoded into the place of these as they are read; NULL if none
} tile_blocks;

/// Asks for some cache lines; returns where the next are. Not unrolled: they are few, and each block asks.
INLINE uintptr_t prefetch_ahead(uintptr_t ahead, size_t lines) {
#pragma clang loop unroll(disable)
    for (; lines > 0; lines--, ahead += 64) ask_for_next(ahead);
    return ahead;
}

typedef uint8_t u8x64 __attribute__((ext_vector_type(64)));
typedef int8_t i8x64 __attribute__((ext_vector_type(64)));
typedef int8_t i8x32 __attribute__((ext_vector_type(32)));

INLINE i8x32 even_then_odd(i8x32 v) {
    return SHUFFLE(
        v, v, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25,
        27, 29, 31);
}

#endif
