// Matrix products.
#include "support.h"

/// A product to try: the rows handed to the kernel begin at a tile.
typedef struct {
    size_t tokens, rows, columns, begin, end, stride;
    value_kind kind;
    char context[96];
} shape;

static size_t blocks_of(const shape *s) { return (s->columns + SHOAL_BLOCK - 1) / SHOAL_BLOCK; }
static size_t results_of(const shape *s) { return s->tokens * s->stride; }

typedef void shape_test(const shape *s);

static void try_shape(shape_test *test, shape s) {
    snprintf(
        s.context, sizeof s.context, "T=%zu N=%zu K=%zu rows %zu to %zu, %s", s.tokens, s.rows, s.columns, s.begin,
        s.end, kind_names[s.kind]);
    test(&s);
    release();
}

/// Random shapes with all kinds of values, columns in steps of `step`, and those where the loops change their ways.
static void each_shape(size_t step, shape_test *test) {
    for (value_kind kind = 0; kind < VALUE_KINDS; kind++)
        for (int i = 0; i < 12; i++) {
            shape s = {.kind = kind};
            s.rows = random_between(1, 70);
            s.begin = random_between(0, (s.rows - 1) / SHOAL_TILE_ROWS) * SHOAL_TILE_ROWS;
            s.end = random_between(s.begin + 1, s.rows);
            s.tokens = random_between(1, 40);
            s.columns = step * random_between(1, step == 1 ? 700 : 24);
            s.stride = s.rows + random_between(0, 3);
            try_shape(test, s);
        }
    // More tokens and more columns than one slice of the activations holds.
    static const size_t large[][2] = {{97, 1120}, {102, 2880}, {100, 3104}, {130, 96}, {14, 22016}, {5, 66560}};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        try_shape(test, (shape){large[i][0], 19, large[i][1], 0, 19, 19, ORDINARY, ""});
    // Few tokens have a way of their own through long rows in whole tiles, also where groups of blocks overlap.
    static const size_t columns[] = {512, 544, 2880, 3104, 6176};
    for (size_t tokens = 1; tokens <= 9; tokens++)
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            value_kind kind = random_between(0, VALUE_KINDS - 1);
            try_shape(test, (shape){tokens, 48, columns[i], 16, 48, 48, kind, ""});
        }
}

static const uint16_t *random_bias(const shape *s) {
    return random_word() >> 63 ? random_bfloats(ORDINARY, s->rows) : NULL;
}

/// A plane of the largest magnitudes.
static int8_t *extreme_plane(size_t count) {
    int8_t *plane = guarded(count);
    for (size_t i = 0; i < count; i++) plane[i] = random_word() >> 63 ? 127 : -127;
    return plane;
}

/// The floats quantised by the scalar kernels; where wide values are wanted, whatever the blocks can hold.
typedef struct {
    shoal_q8_rows narrow;
    shoal_q16_rows wide;
    shoal_bf16_rows bf16;
} quantized_rows;

static quantized_rows quantize_rows(const shape *s, const float *floats) {
    size_t blocks = blocks_of(s), count = s->tokens * blocks, bytes = count * SHOAL_BLOCK;
    uint16_t *halves = guarded(bytes * sizeof *halves);
    for (size_t t = 0; t < s->tokens; t++)
        scalar->quantize_bf16(floats + t * s->columns, s->columns, halves + t * blocks * SHOAL_BLOCK);
    shoal_bf16_rows bf16 = {halves, s->tokens, blocks};
    if (s->kind == WIDE) {
        const uint16_t *scales = random_bfloats(WIDE, count);
        const int8_t *high = extreme_plane(bytes), *low = extreme_plane(bytes);
        return (quantized_rows){
            {high, scales, s->tokens, blocks},
            {high, low, scales, s->tokens, blocks},
            bf16,
        };
    }
    int8_t *values = guarded(bytes), *high = guarded(bytes), *low = guarded(bytes);
    uint16_t *scales = guarded(count * sizeof *scales), *fine = guarded(count * sizeof *fine);
    for (size_t t = 0; t < s->tokens; t++) {
        size_t at = t * blocks;
        const float *x = floats + t * s->columns;
        scalar->quantize_q8(x, s->columns, values + at * SHOAL_BLOCK, scales + at);
        scalar->quantize_q16(x, s->columns, high + at * SHOAL_BLOCK, low + at * SHOAL_BLOCK, fine + at);
    }
    return (quantized_rows){
        {values, scales, s->tokens, blocks},
        {high, low, fine, s->tokens, blocks},
        bf16,
    };
}

/// Runs one product by both tables and compares all of y.
#define EXPECT_PRODUCT(s, kernel, w, x)                                                                               \
    do {                                                                                                              \
        float *found = results(results_of(s)), *expected = results(results_of(s));                                    \
        variant->kernel(w, x, (s)->begin, (s)->end, found, (s)->stride);                                              \
        scalar->kernel(w, x, (s)->begin, (s)->end, expected, (s)->stride);                                            \
        expect_floats(found, expected, results_of(s), (s)->context);                                                  \
    } while (0)

static void mxfp4_shape(const shape *s) {
    size_t blocks = blocks_of(s), count = s->rows * blocks;
    uint8_t *codes = random_bytes(count * SHOAL_BLOCK / 2), *scales = random_bytes(count);
    for (size_t i = 0; s->kind == ORDINARY && i < count; i++) scales[i] = 120 + scales[i] % 8;
    shoal_mxfp4_matrix w = {codes, scales, random_bias(s), s->rows, s->columns};
    const float *floats = random_floats(s->kind, s->tokens * s->columns);
    quantized_rows x = quantize_rows(s, floats);
    EXPECT_PRODUCT(s, matmul_mxfp4_q8, &w, &x.narrow);
    EXPECT_PRODUCT(s, matmul_mxfp4_bf16, &w, &x.bf16);
    EXPECT_PRODUCT(s, matmul_mxfp4_f32, &w, (&(shoal_f32_rows){floats, s->tokens, s->columns}));
}
static void test_mxfp4(void) { each_shape(SHOAL_BLOCK, mxfp4_shape); }

static void q8_shape(const shape *s) {
    size_t size = shoal_q8_values_size(s->rows, s->columns);
    uint8_t *values = guarded(size);
    uint16_t *scales;
    if (s->kind == WIDE) {  // any bytes at all
        static const uint8_t extremes[] = {0, 1, 127, 128, 129, 255};
        for (size_t i = 0; i < size; i++) values[i] = extremes[random_between(0, 5)];
        scales = random_bfloats(SPECIAL, size / SHOAL_BLOCK);
    } else {
        const uint16_t *matrix = random_bfloats(s->kind, s->rows * s->columns);
        scales = guarded(shoal_q8_scales_size(s->rows, s->columns));
        shoal_q8_pack(matrix, s->rows, s->columns, 0, s->rows, values, scales);
    }
    shoal_q8_matrix w = {values, scales, random_bias(s), s->rows, blocks_of(s)};
    quantized_rows x = quantize_rows(s, random_floats(s->kind, s->tokens * s->columns));
    EXPECT_PRODUCT(s, matmul_q8_q8, &w, &x.narrow);
    EXPECT_PRODUCT(s, matmul_q8_q16, &w, &x.wide);
}
static void test_q8(void) { each_shape(1, q8_shape); }

static void bf16_shape(const shape *s) {
    const uint16_t *values = random_bfloats(s->kind, s->rows * s->columns);
    shoal_bf16_matrix w = {values, random_bias(s), s->rows, s->columns};
    const float *floats = random_floats(s->kind, s->tokens * s->columns);
    quantized_rows x = quantize_rows(s, floats);
    EXPECT_PRODUCT(s, matmul_bf16_bf16, &w, &x.bf16);
    EXPECT_PRODUCT(s, matmul_bf16_f32, &w, (&(shoal_f32_rows){floats, s->tokens, s->columns}));
}
static void test_bf16(void) {
    each_shape(1, bf16_shape);
    // Sums that underflowed to -0 stay so when the last vector is partial.
    enum { COLUMNS = 20 };
    uint16_t *values = guarded(COLUMNS * sizeof *values);
    float *x = guarded(COLUMNS * sizeof *x), y = 1;
    for (size_t i = 0; i < COLUMNS; i++) values[i] = 0x0d80, x[i] = -0x1p-100f;  // 2^-100 in bfloat16
    shoal_bf16_matrix w = {values, NULL, 1, COLUMNS};
    variant->matmul_bf16_f32(&w, &(shoal_f32_rows){x, 1, COLUMNS}, 0, 1, &y, 1);
    if (shoal_bits_of(y) != 0x80000000u) fail("sums of -0 became %a", (double)y);
}
