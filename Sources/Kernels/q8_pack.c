// Int8 weights at load: quantised by the fastest kernels, whose bytes are the same on every processor.
#include "kernels_internal.h"

#define COLUMNS 512  // of one row that are quantised at once

void shoal_q8_pack(
    const uint16_t *matrix, size_t rows, size_t columns, size_t row_begin, size_t row_end, uint8_t *values,
    uint16_t *scales) {
    const shoal_kernels *kernels = shoal_kernels_named(NULL);
    size_t blocks = (columns + SHOAL_BLOCK - 1) / SHOAL_BLOCK;
    size_t padded_end = (row_end + SHOAL_TILE_ROWS - 1) / SHOAL_TILE_ROWS * SHOAL_TILE_ROWS;
    for (size_t n = row_begin; n < padded_end; n++) {
        size_t tile = n / SHOAL_TILE_ROWS, r = n % SHOAL_TILE_ROWS;
        for (size_t column = 0; column < columns; column += COLUMNS) {
            size_t width = columns - column < COLUMNS ? columns - column : COLUMNS;
            float x[COLUMNS] = {0};
            int8_t v[COLUMNS];
            uint16_t scale[COLUMNS / SHOAL_BLOCK];
            if (n < rows) kernels->bf16_to_f32(matrix + n * columns + column, width, x);
            kernels->quantize_q8(x, width, v, scale);
            for (size_t b = 0; b * SHOAL_BLOCK < width; b++) {
                size_t block = tile * blocks + column / SHOAL_BLOCK + b;
                uint8_t *out = values + block * SHOAL_BLOCK * SHOAL_TILE_ROWS + r * 4;
                for (size_t i = 0; i < SHOAL_BLOCK / 4; i++) {
                    uint32_t four;
                    memcpy(&four, v + b * SHOAL_BLOCK + i * 4, sizeof four);
                    four ^= 0x80808080u;  // value + 128
                    memcpy(out + i * SHOAL_TILE_ROWS * 4, &four, sizeof four);
                }
                scales[block * SHOAL_TILE_ROWS + r] = scale[b];
            }
        }
    }
}
