// MXFP4 decoded into the first-level cache, sixteen blocks of two tiles at a time, in the form in which int8 matrices are stored.
//
// Decoding mostly loads, shuffles and stores, while products mostly multiply. Where an instruction set's inner loop takes
// both (DECODES_AHEAD), the last group of tokens decodes on its way: as soon as it has multiplied with a block, the one that
// is sixteen further on takes that block's place.
//
// The including file defines `words_of_rows`, `decode_mxfp4_bytes`, `add_dots` and MXFP4_X_OFFSET.
#ifndef SHOAL_MXFP4_DECODE_H
#define SHOAL_MXFP4_DECODE_H

#include "mxfp4_scales.h"
#include "q8_slice.h"

/// Up to sixteen blocks of two tiles, decoded.
typedef struct {
    uint8_t values[2][GROUP_BLOCKS][SHOAL_TILE_ROWS * SHOAL_BLOCK] __attribute__((aligned(64)));
    float starts[2][GROUP_BLOCKS * LANES] __attribute__((aligned(64)));
    float anchors[2][2][GROUP_BLOCKS * LANES] __attribute__((aligned(64)));  // [turn][tile]
} mxfp4_decoded;

/// Two tiles as the checkpoint has them. Their last may lack rows: the last row stands in for those, and their results are not
/// stored.
typedef struct mxfp4_tiles {
    const uint8_t *codes[2 * SHOAL_TILE_ROWS], *scales[2 * SHOAL_TILE_ROWS];  // of the rows
    size_t row_blocks;
    size_t block, blocks;    // what is to be decoded next
    mxfp4_decoded *decoded;  // its place
    float (*anchors)[GROUP_BLOCKS * LANES];  // its anchors: not where those of what is decoded already are still in use
} mxfp4_tiles;

INLINE mxfp4_tiles mxfp4_tiles_at(const shoal_mxfp4_matrix *w, size_t n, size_t rows, mxfp4_decoded *decoded) {
    mxfp4_tiles tiles = {.row_blocks = w->columns / SHOAL_BLOCK, .decoded = decoded, .anchors = decoded->anchors[1]};
    for (size_t r = 0; r < 2 * SHOAL_TILE_ROWS; r++) {
        size_t index = (n + smaller(r, rows - 1)) * tiles.row_blocks;
        tiles.codes[r] = w->blocks + index * (SHOAL_BLOCK / 2);
        tiles.scales[r] = w->scales + index;
    }
    return tiles;
}

/// These blocks are to be decoded next, up to GROUP_BLOCKS of them.
INLINE void mxfp4_tiles_take_blocks(mxfp4_tiles *tiles, size_t block, size_t blocks) {
    tiles->block = block, tiles->blocks = blocks;
    tiles->anchors = tiles->decoded->anchors[tiles->anchors == tiles->decoded->anchors[0]];
    for (size_t tile = 0; tile < 2 && blocks > 0; tile++)
        mxfp4_anchors(tiles->scales + tile * SHOAL_TILE_ROWS, tiles->row_blocks, block, blocks, tiles->anchors[tile]);
}

/// Decodes the i-th of the blocks in one tile: [8][16 rows][4 columns], even columns first. And the bits that its dot
/// products begin with: the rows' anchors, less what the activations' offset will add.
INLINE void mxfp4_tiles_decode(mxfp4_tiles *tiles, size_t tile, size_t i) {
    mxfp4_decoded *decoded = tiles->decoded;
    uint8_t *values = decoded->values[tile][i];
    i32x16 words[4];
    words_of_rows(tiles->codes + tile * SHOAL_TILE_ROWS, (tiles->block + i) * (SHOAL_BLOCK / 2), words);
    u8x64 even_sums = 0, odd_sums = 0;  // within 4 * 12 of zero
    for (int j = 0; j < 4; j++) {
        u8x64 even, odd;
        decode_mxfp4_bytes(0, (u8x64)words[j], &even, &odd);
        memcpy(values + j * 64, &even, sizeof even);
        memcpy(values + (j + 4) * 64, &odd, sizeof odd);
        even_sums += even, odd_sums += odd;
    }
    const u8x64 offsets = MXFP4_X_OFFSET;
    i32x16 excess = add_dots((i32x16)0, offsets, (i8x64)even_sums, offsets, (i8x64)odd_sums);
    i32x16 anchors = (i32x16)load(tiles->anchors[tile] + i * LANES, LANES);
    store(decoded->starts[tile] + i * LANES, (f32x16)(anchors - excess), LANES);
}

INLINE void mxfp4_tiles_decode_all(mxfp4_tiles *tiles) {
    for (size_t tile = 0; tile < 2; tile++)
        for (size_t i = 0; i < tiles->blocks; i++) mxfp4_tiles_decode(tiles, tile, i);
}

#endif
