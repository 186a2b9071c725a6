// The reference: portable C that defines, to the bit, what every other variant computes.
#include "kernels_internal.h"
#include <math.h>

static float reduce16(float p[16]) {
    for (int width = 8; width >= 1; width /= 2)
        for (int j = 0; j < width; j++) p[j] += p[j + width];
    return p[0];
}

// exp(x) = 2^n * exp(r), n = round(x / ln 2), r in ±ln2/2 by a two-part ln 2 (Cody and Waite), then a polynomial.
float shoal_exp(float x) {
    if (x != x) return x;
    if (x < -87.3f) return 0.0f;
    if (x > 88.7f) return INFINITY;
    float n = rintf(x * 1.44269504088896341f);
    float r = fmaf(n, -0.693359375f, x);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    // Two factors, because n = 128 has no float32 exponent of its own.
    int32_t whole = (int32_t)n, half = whole >> 1;
    float low = shoal_float_from_bits((uint32_t)(half + 127) << 23);
    float high = shoal_float_from_bits((uint32_t)(whole - half + 127) << 23);
    return p * low * high;
}

// The bfloat16 scale with which a block's largest magnitude becomes `most`, rounded up so that nothing exceeds it.
// Zero for a block too small to scale, NaN for one that holds a NaN or an infinity.
static uint16_t block_scale(const float *x, size_t width, float most) {
    uint32_t largest = 0;  // compared as integers, so that NaN and infinity win
    for (size_t j = 0; j < width; j++) {
        uint32_t magnitude = shoal_bits_of(x[j]) & 0x7fffffffu;
        if (magnitude > largest) largest = magnitude;
    }
    if (largest >= 0x7f800000u) return 0x7fc0;
    float maximum = shoal_float_from_bits(largest);
    return maximum < 0x1p-100f ? 0 : (uint16_t)((shoal_bits_of(maximum / most) + 0xffffu) >> 16);
}

static int has_values(uint16_t scale) { return scale != 0 && scale != 0x7fc0; }

static void quantize_q8(const float *x, size_t columns, int8_t *values, uint16_t *scales) {
    for (size_t start = 0, block = 0; start < columns; start += SHOAL_BLOCK, block++) {
        size_t width = columns - start < SHOAL_BLOCK ? columns - start : SHOAL_BLOCK;
        scales[block] = block_scale(x + start, width, 127.0f);
        memset(values + start, 0, SHOAL_BLOCK);
        float inverse = 1.0f / shoal_bf16(scales[block]);
        for (size_t j = 0; has_values(scales[block]) && j < width; j++)
            values[start + j] = (int8_t)rintf(x[start + j] * inverse);
    }
}

static void quantize_q16(const float *x, size_t columns, int8_t *high, int8_t *low, uint16_t *scales) {
    for (size_t start = 0, block = 0; start < columns; start += SHOAL_BLOCK, block++) {
        size_t width = columns - start < SHOAL_BLOCK ? columns - start : SHOAL_BLOCK;
        scales[block] = block_scale(x + start, width, 32512.0f);
        memset(high + start, 0, SHOAL_BLOCK);
        memset(low + start, 0, SHOAL_BLOCK);
        float inverse = 1.0f / shoal_bf16(scales[block]);
        for (size_t j = 0; has_values(scales[block]) && j < width; j++) {
            float value = rintf(x[start + j] * inverse);
            float multiple = rintf(value * (1.0f / 255.0f));
            high[start + j] = (int8_t)multiple;
            low[start + j] = (int8_t)(value - multiple * 255.0f);
        }
    }
}

static uint16_t rounded_to_bf16(float x) {
    uint32_t bits = shoal_bits_of(x);
    return x != x ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/// A factor of a bfloat16 product.
static uint16_t without_least(uint16_t x) { return (x & 0x7fff) < SHOAL_BF16_LEAST ? 0 : x; }

static void quantize_bf16(const float *x, size_t columns, uint16_t *out) {
    memset(out, 0, (columns + SHOAL_BLOCK - 1) / SHOAL_BLOCK * SHOAL_BLOCK * sizeof *out);
    for (size_t k = 0; k < columns; k++) out[k] = without_least(rounded_to_bf16(x[k]));
}

static void matmul_mxfp4_q8(
    const shoal_mxfp4_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    size_t blocks = w->columns / SHOAL_BLOCK;
    for (size_t t = 0; t < x->rows; t++)
        for (size_t n = row_begin; n < row_end; n++) {
            float sum = 0;
            for (size_t b = 0; b < blocks; b++) {
                const uint8_t *codes = w->blocks + (n * blocks + b) * (SHOAL_BLOCK / 2);
                const int8_t *v = x->values + (t * blocks + b) * SHOAL_BLOCK;
                int32_t dot = 0;
                for (size_t j = 0; j < SHOAL_BLOCK / 2; j++)
                    dot += shoal_e2m1_doubled[codes[j] & 15] * v[2 * j] +
                           shoal_e2m1_doubled[codes[j] >> 4] * v[2 * j + 1];
                uint8_t scale = w->scales[n * blocks + b];
                float multiple = (float)dot * shoal_mxfp4_half_scale(
                    scale < SHOAL_MXFP4_MOST_SCALE ? scale : SHOAL_MXFP4_MOST_SCALE);
                sum = fmaf(multiple, shoal_bf16(x->scales[t * blocks + b]), sum);
            }
            y[t * y_stride + n] = w->bias ? sum + shoal_bf16(w->bias[n]) : sum;
        }
}

// The int8 matrix against one plane of rows, or two: value = high * 255 + low.
static void matmul_q8(
    const shoal_q8_matrix *w, const int8_t *high, const int8_t *low, const uint16_t *scales, size_t rows,
    size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    for (size_t t = 0; t < rows; t++)
        for (size_t n = row_begin; n < row_end; n++) {
            size_t tile = n / SHOAL_TILE_ROWS, r = n % SHOAL_TILE_ROWS;
            float sum = 0;
            for (size_t b = 0; b < w->blocks; b++) {
                const uint8_t *values = w->values + (tile * w->blocks + b) * SHOAL_BLOCK * SHOAL_TILE_ROWS;
                size_t block = t * w->blocks + b;
                int32_t dot = 0;
                for (size_t j = 0; j < SHOAL_BLOCK; j++) {
                    int32_t x = high[block * SHOAL_BLOCK + j];
                    if (low) x = x * 255 + low[block * SHOAL_BLOCK + j];
                    dot += ((int32_t)values[(j / 4 * SHOAL_TILE_ROWS + r) * 4 + j % 4] - 128) * x;
                }
                float scale =
                    shoal_bf16(scales[block]) * shoal_bf16(w->scales[(tile * w->blocks + b) * SHOAL_TILE_ROWS + r]);
                sum = fmaf((float)dot, scale, sum);
            }
            y[t * y_stride + n] = w->bias ? sum + shoal_bf16(w->bias[n]) : sum;
        }
}

static void matmul_q8_q8(
    const shoal_q8_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    matmul_q8(w, x->values, NULL, x->scales, x->rows, row_begin, row_end, y, y_stride);
}

static void matmul_q8_q16(
    const shoal_q8_matrix *w, const shoal_q16_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    matmul_q8(w, x->high, x->low, x->scales, x->rows, row_begin, row_end, y, y_stride);
}

static void dequantize_mxfp4(const uint8_t *blocks, const uint8_t *scales, size_t count, float *out) {
    for (size_t b = 0; b < count; b++) {
        float scale = shoal_mxfp4_half_scale(scales[b]);
        for (size_t j = 0; j < SHOAL_BLOCK; j++) {
            uint8_t code = blocks[b * 16 + j / 2] >> (j % 2 * 4) & 15;
            float magnitude = (float)shoal_e2m1_doubled[code & 7] * scale;
            out[b * SHOAL_BLOCK + j] = code & 8 ? -magnitude : magnitude;  // code 8 is -0
        }
    }
}

static void matmul_mxfp4_f32(
    const shoal_mxfp4_matrix *w, const shoal_f32_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    size_t blocks = w->columns / SHOAL_BLOCK;
    for (size_t t = 0; t < x->rows; t++)
        for (size_t n = row_begin; n < row_end; n++) {
            float p[16] = {0};
            for (size_t b = 0; b < blocks; b++) {
                float v[SHOAL_BLOCK];
                dequantize_mxfp4(w->blocks + (n * blocks + b) * 16, w->scales + n * blocks + b, 1, v);
                const float *u = x->values + t * w->columns + b * SHOAL_BLOCK;
                for (size_t j = 0; j < SHOAL_BLOCK; j++) p[j % 16] = fmaf(u[j], v[j], p[j % 16]);
            }
            float sum = reduce16(p);
            y[t * y_stride + n] = w->bias ? sum + shoal_bf16(w->bias[n]) : sum;
        }
}

static void matmul_bf16_f32(
    const shoal_bf16_matrix *w, const shoal_f32_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    for (size_t t = 0; t < x->rows; t++)
        for (size_t n = row_begin; n < row_end; n++) {
            const uint16_t *v = w->values + n * w->columns;
            const float *u = x->values + t * w->columns;
            float p[16] = {0};
            for (size_t k = 0; k < w->columns; k++) p[k % 16] = fmaf(u[k], shoal_bf16(v[k]), p[k % 16]);
            float sum = reduce16(p);
            y[t * y_stride + n] = w->bias ? sum + shoal_bf16(w->bias[n]) : sum;
        }
}

/// p[j] += the products of columns 2 j + 1 and 2 j of a block, of which the weights' first `columns` exist.
static void add_pairs(const uint16_t *w, size_t columns, const uint16_t *x, float p[16]) {
    for (size_t i = 0; i < SHOAL_BLOCK; i++) {
        size_t k = i ^ 1;  // of each pair the odd one first
        if (k < columns) p[k / 2] = fmaf(shoal_bf16(without_least(w[k])), shoal_bf16(x[k]), p[k / 2]);
    }
}

static void matmul_mxfp4_bf16(
    const shoal_mxfp4_matrix *w, const shoal_bf16_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    for (size_t t = 0; t < x->rows; t++)
        for (size_t n = row_begin; n < row_end; n++) {
            float p[16] = {0};
            for (size_t b = 0; b < x->blocks; b++) {
                const uint8_t *codes = w->blocks + (n * x->blocks + b) * (SHOAL_BLOCK / 2);
                uint8_t scale = w->scales[n * x->blocks + b];
                scale = scale < SHOAL_MXFP4_MOST_SCALE ? scale : SHOAL_MXFP4_MOST_SCALE;
                float factor = scale < SHOAL_BF16_LEAST_SCALE ? 0 : shoal_mxfp4_half_scale(scale);
                uint16_t v[SHOAL_BLOCK];
                for (size_t j = 0; j < SHOAL_BLOCK; j++) {
                    int8_t doubled = shoal_e2m1_doubled[codes[j / 2] >> (j % 2 * 4) & 15];
                    v[j] = (uint16_t)(shoal_bits_of(doubled * factor) >> 16);  // exact
                }
                add_pairs(v, SHOAL_BLOCK, x->values + (t * x->blocks + b) * SHOAL_BLOCK, p);
            }
            float sum = reduce16(p);
            y[t * y_stride + n] = w->bias ? sum + shoal_bf16(w->bias[n]) : sum;
        }
}

static void matmul_bf16_bf16(
    const shoal_bf16_matrix *w, const shoal_bf16_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    for (size_t t = 0; t < x->rows; t++)
        for (size_t n = row_begin; n < row_end; n++) {
            float p[16] = {0};
            for (size_t k = 0; k < w->columns; k += SHOAL_BLOCK)
                add_pairs(
                    w->values + n * w->columns + k, w->columns - k, x->values + t * x->blocks * SHOAL_BLOCK + k, p);
            float sum = reduce16(p);
            y[t * y_stride + n] = w->bias ? sum + shoal_bf16(w->bias[n]) : sum;
        }
}

static void rms_norm(const float *x, const uint16_t *weight, float epsilon, size_t columns, float *out) {
    float p[16] = {0};
    for (size_t k = 0; k < columns; k++) p[k % 16] = fmaf(x[k], x[k], p[k % 16]);
    float factor = 1.0f / sqrtf(reduce16(p) / (float)columns + epsilon);
    for (size_t k = 0; k < columns; k++) out[k] = x[k] * factor * shoal_bf16(weight[k]);
}

static void rope(float *heads, size_t head_count, size_t head_dim, const float *cosines, const float *sines) {
    size_t half = head_dim / 2;
    for (size_t h = 0; h < head_count; h++)
        for (size_t i = 0; i < half; i++) {
            float *first = heads + h * head_dim + i, *second = first + half;
            float a = *first, b = *second;
            *first = fmaf(-b, sines[i], a * cosines[i]);
            *second = fmaf(a, sines[i], b * cosines[i]);
        }
}

static float kv_element(shoal_kv_format format, const char *elements, size_t index) {
    switch (format) {
        case SHOAL_KV_F32: return ((const float *)(const void *)elements)[index];
        case SHOAL_KV_BF16: return shoal_bf16(((const uint16_t *)(const void *)elements)[index]);
        case SHOAL_KV_Q8: return (float)((const int8_t *)elements)[index];
    }
    return 0;
}

static float kv_score(const shoal_kv_pages *kv, const float *q, const char *keys, size_t slot) {
    size_t blocks = (kv->head_dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK, tokens = kv->page_tokens;
    const uint16_t *scales = (const uint16_t *)(const void *)(keys + blocks * SHOAL_BLOCK * tokens);
    float dot = 0, block_dot = 0;
    for (size_t d = 0; d < kv->head_dim; d++) {
        float element = kv_element(kv->format, keys, d * tokens + slot);
        if (kv->format != SHOAL_KV_Q8) {
            dot = fmaf(q[d], element, dot);
            continue;
        }
        block_dot = fmaf(q[d], element, block_dot);
        if (d % SHOAL_BLOCK == SHOAL_BLOCK - 1 || d == kv->head_dim - 1) {
            dot = fmaf(block_dot, shoal_bf16(scales[d / SHOAL_BLOCK * tokens + slot]), dot);
            block_dot = 0;
        }
    }
    return dot;
}

static float kv_value(const shoal_kv_pages *kv, const char *row, size_t d) {
    float element = kv_element(kv->format, row, d);
    if (kv->format != SHOAL_KV_Q8) return element;
    size_t blocks = (kv->head_dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK;
    return element * shoal_bf16(((const uint16_t *)(const void *)(row + blocks * SHOAL_BLOCK))[d / SHOAL_BLOCK]);
}

static void attention(
    const shoal_kv_pages *kv, size_t kv_head, size_t group, const float *q, const uint16_t *sinks, float scale,
    size_t first, size_t last, float *scores, float *denominators, float *out) {
    size_t keys = last - first + 1, dim = kv->head_dim;
    for (size_t h = 0; h < group; h++) {
        float *score = scores + h * keys, *result = out + h * dim;
        float sink = shoal_bf16(sinks[h]), maximum = sink;
        for (size_t i = 0; i < keys; i++) {
            const char *page = kv->pool + shoal_kv_head_offset(kv, kv->keys, kv_head, first + i);
            score[i] = kv_score(kv, q + h * dim, page, (first + i) % kv->page_tokens) * scale;
            if (score[i] > maximum) maximum = score[i];
        }
        float p[16] = {0};
        for (size_t i = 0; i < keys; i++) {
            score[i] = shoal_exp(score[i] - maximum);
            p[i % 16] += score[i];
        }
        denominators[h] = reduce16(p) + shoal_exp(sink - maximum);
        for (size_t d = 0; d < dim; d++) result[d] = 0;
        for (size_t i = 0; i < keys; i++) {
            const char *value = kv->pool + shoal_kv_head_offset(kv, kv->values, kv_head, first + i) +
                                (first + i) % kv->page_tokens * shoal_kv_row_bytes(kv->format, dim);
            for (size_t d = 0; d < dim; d++) result[d] = fmaf(score[i], kv_value(kv, value, d), result[d]);
        }
        for (size_t d = 0; d < dim; d++) result[d] /= denominators[h];
    }
}

static void swiglu(const float *gate_up, size_t columns, float limit, float alpha, float *out) {
    for (size_t i = 0; i < columns; i++) {
        float g = gate_up[2 * i], u = gate_up[2 * i + 1];
        g = g > limit ? limit : g;
        u = u > limit ? limit : u;
        u = u < -limit ? -limit : u;
        out[i] = g / (1.0f + shoal_exp(-alpha * g)) * (u + 1.0f);
    }
}

static void combine_f32(
    const float *residual, const float *rows, const float *weights, size_t count, size_t columns, float *out) {
    for (size_t i = 0; i < columns; i++) {
        float sum = 0;
        for (size_t k = 0; k < count; k++) sum = fmaf(weights[k], rows[k * columns + i], sum);
        out[i] = residual[i] + sum;
    }
}

static void combine_bf16(
    const float *residual, const uint16_t *rows, const float *weights, size_t count, size_t columns, float *out) {
    for (size_t i = 0; i < columns; i++) {
        float sum = 0;
        for (size_t k = 0; k < count; k++) sum = fmaf(weights[k], shoal_bf16(rows[k * columns + i]), sum);
        out[i] = residual[i] + sum;
    }
}

static void f32_to_bf16(const float *x, size_t count, uint16_t *out) {
    for (size_t i = 0; i < count; i++) out[i] = rounded_to_bf16(x[i]);
}

static void bf16_to_f32(const uint16_t *x, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) out[i] = shoal_bf16(x[i]);
}

static void max_and_sum_exp(const float *x, size_t count, float *max, float *sum) {
    float maximum = x[0];
    for (size_t i = 1; i < count; i++)
        if (x[i] > maximum) maximum = x[i];
    float p[16] = {0};
    for (size_t i = 0; i < count; i++) p[i % 16] += shoal_exp(x[i] - maximum);
    maximum += 0.0f;  // a zero maximum is +0, whichever zero came first
    *max = maximum;
    *sum = reduce16(p);
}

static void exp_weights(const float *x, size_t count, float max, float temperature, float *out, float *sum) {
    float p[16] = {0};
    for (size_t i = 0; i < count; i++) {
        out[i] = shoal_exp((x[i] - max) / temperature);
        p[i % 16] += out[i];
    }
    *sum = reduce16(p);
}

static void keep_weights(const float *x, size_t count, float least, float floor, float *weights, float *sum) {
    float p[16] = {0};
    for (size_t i = 0; i < count; i++) {
        weights[i] = x[i] >= least && weights[i] >= floor ? weights[i] : 0.0f;
        p[i % 16] += weights[i];
    }
    *sum = reduce16(p);
}

const shoal_kernels shoal_kernels_scalar = SHOAL_KERNELS(
    SHOAL_ISA_SCALAR, "scalar", matmul_mxfp4_q8, matmul_q8_q8, matmul_q8_q16, matmul_mxfp4_bf16, matmul_bf16_bf16);
