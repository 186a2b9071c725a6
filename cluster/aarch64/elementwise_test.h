// Everything but matrices and attention.
#include "support.h"

typedef void length_test(size_t length, value_kind kind, const char *context);

/// All kinds of values in whole and partial vectors.
static void each_length(length_test *test) {
    static const size_t longer[] = {64, 80, 96, 127, 128, 2879, 2880};
    for (value_kind kind = 0; kind < VALUE_KINDS; kind++)
        for (size_t i = 0; i < 49 + sizeof longer / sizeof *longer; i++) {
            size_t length = i < 49 ? i + 1 : longer[i - 49];
            char context[64];
            snprintf(context, sizeof context, "%zu %s", length, kind_names[kind]);
            test(length, kind, context);
            release();
        }
}

/// Values of a kind, the ordinary ones `factor` times as large.
static float *scaled_floats(value_kind kind, size_t count, float factor) {
    float *floats = random_floats(kind, count);
    for (size_t i = 0; kind == ORDINARY && i < count; i++) floats[i] *= factor;
    return floats;
}

static void quantize_length(size_t length, value_kind kind, const char *context) {
    const float *x = random_floats(kind, length);
    size_t blocks = (length + SHOAL_BLOCK - 1) / SHOAL_BLOCK, bytes = blocks * SHOAL_BLOCK;
    int8_t *planes[2][3];
    uint16_t *scales[2][2], *halves[2];
    for (int i = 0; i < 2; i++) {
        const shoal_kernels *kernels = i ? scalar : variant;
        for (int plane = 0; plane < 3; plane++) planes[i][plane] = guarded(bytes);
        for (int width = 0; width < 2; width++) scales[i][width] = guarded(blocks * sizeof(uint16_t));
        halves[i] = guarded(bytes * sizeof *halves[i]);
        kernels->quantize_q8(x, length, planes[i][0], scales[i][0]);
        kernels->quantize_q16(x, length, planes[i][1], planes[i][2], scales[i][1]);
        kernels->quantize_bf16(x, length, halves[i]);
    }
    for (int plane = 0; plane < 3; plane++) expect_bytes(planes[0][plane], planes[1][plane], bytes, context);
    for (int width = 0; width < 2; width++)
        expect_bytes(scales[0][width], scales[1][width], blocks * sizeof(uint16_t), context);
    expect_bytes(halves[0], halves[1], bytes * sizeof(uint16_t), context);
}
static void test_quantize(void) { each_length(quantize_length); }

static void rms_norm_length(size_t length, value_kind kind, const char *context) {
    const float *x = random_floats(kind, length);
    const uint16_t *weight = random_bfloats(ORDINARY, length);
    float *found = results(length), *expected = results(length);
    variant->rms_norm(x, weight, 1e-5f, length, found);
    scalar->rms_norm(x, weight, 1e-5f, length, expected);
    expect_floats(found, expected, length, context);
}
static void test_rms_norm(void) { each_length(rms_norm_length); }

static void rope_length(size_t length, value_kind kind, const char *context) {
    enum { HEADS = 3 };
    size_t half = length < 80 ? length : 80, count = HEADS * 2 * half;
    const float *x = random_floats(kind, count);
    const float *cosines = random_floats(ORDINARY, half), *sines = random_floats(ORDINARY, half);
    float *found = results(count), *expected = results(count);
    memcpy(found, x, count * sizeof *x);
    memcpy(expected, x, count * sizeof *x);
    variant->rope(found, HEADS, 2 * half, cosines, sines);
    scalar->rope(expected, HEADS, 2 * half, cosines, sines);
    expect_floats(found, expected, count, context);
}
static void test_rope(void) { each_length(rope_length); }

static void swiglu_length(size_t length, value_kind kind, const char *context) {
    const float *x = scaled_floats(kind, 2 * length, 20);
    float *found = results(length), *expected = results(length);
    variant->swiglu(x, length, 7, 1.702f, found);
    scalar->swiglu(x, length, 7, 1.702f, expected);
    expect_floats(found, expected, length, context);
}
static void test_swiglu(void) { each_length(swiglu_length); }

static void combine_length(size_t length, value_kind kind, const char *context) {
    size_t count = random_between(0, 5);
    const float *residual = random_floats(kind, length), *weights = random_floats(ORDINARY, count);
    const float *floats = random_floats(kind, count * length);
    const uint16_t *bfloats = random_bfloats(kind, count * length);
    float *found = results(length), *expected = results(length);
    variant->combine_f32(residual, floats, weights, count, length, found);
    scalar->combine_f32(residual, floats, weights, count, length, expected);
    expect_floats(found, expected, length, context);
    variant->combine_bf16(residual, bfloats, weights, count, length, found);
    scalar->combine_bf16(residual, bfloats, weights, count, length, expected);
    expect_floats(found, expected, length, context);
}
static void test_combine(void) { each_length(combine_length); }

static void bfloat16_length(size_t length, value_kind kind, const char *context) {
    float *x = random_floats(kind, length);
    for (size_t i = 0; i < length; i++)
        if (random_word() >> 63) x[i] = shoal_float_from_bits((uint32_t)random_word());
    uint16_t *narrow[2] = {guarded(length * sizeof(uint16_t)), guarded(length * sizeof(uint16_t))};
    variant->f32_to_bf16(x, length, narrow[0]);
    scalar->f32_to_bf16(x, length, narrow[1]);
    expect_bytes(narrow[0], narrow[1], length * sizeof(uint16_t), context);
    float *found = results(length), *expected = results(length);
    variant->bf16_to_f32(narrow[1], length, found);
    scalar->bf16_to_f32(narrow[1], length, expected);
    expect_floats(found, expected, length, context);
}
static void test_bfloat16(void) { each_length(bfloat16_length); }

static void max_and_sum_exp_length(size_t length, value_kind kind, const char *context) {
    float *x = scaled_floats(kind, length, 50), *found = results(2), *expected = results(2);
    const float firsts[] = {x[0], __builtin_nanf(""), -__builtin_inff(), -0.0f};
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        x[0] = firsts[i];
        variant->max_and_sum_exp(x, length, found, found + 1);
        scalar->max_and_sum_exp(x, length, expected, expected + 1);
        expect_floats(found, expected, 2, context);
    }
}
static void test_max_and_sum_exp(void) { each_length(max_and_sum_exp_length); }

static void exp_weights_length(size_t length, value_kind kind, const char *context) {
    static const float temperatures[] = {1, 0.7f, 1e-30f, 1e30f, 0x1p-149f, 0x1.fffffep127f};
    float *x = scaled_floats(kind, length, 50), *found = results(length + 1), *expected = results(length + 1);
    if (length > 1) x[1] = -__builtin_inff();
    for (size_t i = 0; i < sizeof temperatures / sizeof *temperatures; i++) {
        variant->exp_weights(x, length, 3, temperatures[i], found, found + length);
        scalar->exp_weights(x, length, 3, temperatures[i], expected, expected + length);
        expect_floats(found, expected, length + 1, context);
    }
}
static void test_exp_weights(void) { each_length(exp_weights_length); }

static void keep_weights_length(size_t length, value_kind kind, const char *context) {
    const float *x = random_floats(kind, length), *weights = random_floats(kind, length);
    float *found = results(length + 1), *expected = results(length + 1);
    memcpy(found, weights, length * sizeof *weights);
    memcpy(expected, weights, length * sizeof *weights);
    variant->keep_weights(x, length, x[length / 2], weights[length / 3], found, found + length);
    scalar->keep_weights(x, length, x[length / 2], weights[length / 3], expected, expected + length);
    expect_floats(found, expected, length + 1, context);
}
static void test_keep_weights(void) { each_length(keep_weights_length); }

/// Every code and every scale.
static void test_dequantize(void) {
    enum { COUNT = 256 };
    uint8_t *blocks = random_bytes(COUNT * SHOAL_BLOCK / 2), *scales = guarded(COUNT);
    for (size_t i = 0; i < COUNT; i++) scales[i] = (uint8_t)i;
    float *found = results(COUNT * SHOAL_BLOCK), *expected = results(COUNT * SHOAL_BLOCK);
    variant->dequantize_mxfp4(blocks, scales, COUNT, found);
    scalar->dequantize_mxfp4(blocks, scales, COUNT, expected);
    expect_floats(found, expected, COUNT * SHOAL_BLOCK, "all scales");
}
