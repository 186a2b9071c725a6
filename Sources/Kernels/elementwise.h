// Everything but matrices and attention, written once for every instruction set that has `vectors.h`.
#ifndef SHOAL_ELEMENTWISE_H
#define SHOAL_ELEMENTWISE_H

#include "vectors.h"

typedef int8_t i8x16 __attribute__((ext_vector_type(16)));

INLINE void store_i8(int8_t *out, f32x16 whole) {
    i8x16 bytes = __builtin_convertvector(__builtin_convertvector(whole, i32x16), i8x16);
    memcpy(out, &bytes, sizeof bytes);
}

/// Rows in int8 where `low` is NULL, otherwise in 16 bits.
INLINE void quantize(const float *x, size_t columns, float most, int8_t *high, int8_t *low, uint16_t *scales) {
    for (size_t start = 0, block = 0; start < columns; start += SHOAL_BLOCK, block++) {
        size_t left = columns - start;
        f32x16 v[2] = {load(x + start, left), splat(0)};
        if (left > LANES) v[1] = load(x + start + LANES, left - LANES);
        // As integers NaN and infinity exceed every finite magnitude.
        u32x16 magnitudes = __builtin_elementwise_max(bits_of(v[0]) & 0x7fffffffu, bits_of(v[1]) & 0x7fffffffu);
        uint32_t largest = __builtin_reduce_max(magnitudes);
        float maximum = shoal_float_from_bits(largest);
        if (largest >= 0x7f800000u || maximum < 0x1p-100f) {
            memset(high + start, 0, SHOAL_BLOCK);
            if (low) memset(low + start, 0, SHOAL_BLOCK);
            scales[block] = largest >= 0x7f800000u ? 0x7fc0 : 0;
            continue;
        }
        uint16_t scale = (uint16_t)((shoal_bits_of(maximum / most) + 0xffffu) >> 16);
        float inverse = 1.0f / shoal_bf16(scale);
        for (size_t i = 0; i < 2; i++) {
            f32x16 rounded = __builtin_elementwise_rint(v[i] * inverse);
            f32x16 multiple = low ? __builtin_elementwise_rint(rounded * (1.0f / 255.0f)) : rounded;
            store_i8(high + start + i * LANES, multiple);
            if (low) store_i8(low + start + i * LANES, rounded - multiple * 255.0f);
        }
        scales[block] = scale;
    }
}

static void quantize_q8(const float *x, size_t columns, int8_t *values, uint16_t *scales) {
    quantize(x, columns, 127.0f, values, NULL, scales);
}

static void quantize_q16(const float *x, size_t columns, int8_t *high, int8_t *low, uint16_t *scales) {
    quantize(x, columns, 32512.0f, high, low, scales);
}

/// Each lane in bfloat16, its lower half.
INLINE u32x16 rounded_to_bf16(f32x16 v) {
    u32x16 bits = bits_of(v);
    return v != v ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static void quantize_bf16(const float *x, size_t columns, uint16_t *out) {
    size_t padded = (columns + SHOAL_BLOCK - 1) / SHOAL_BLOCK * SHOAL_BLOCK;
    for (size_t i = 0; i < padded; i += LANES) {
        u32x16 rounded = rounded_to_bf16(i < columns ? load(x + i, columns - i) : splat(0));
        rounded = (rounded & 0x7fff) < SHOAL_BF16_LEAST ? (u32x16)0 : rounded;
        u16x16 halves = __builtin_convertvector(rounded, u16x16);
        memcpy(out + i, &halves, sizeof halves);
    }
}

static void rms_norm(const float *x, const uint16_t *weight, float epsilon, size_t columns, float *out) {
    f32x16 squares = splat(0);
    for (size_t i = 0; i < columns; i += LANES) {
        f32x16 v = load(x + i, columns - i);
        squares = accumulate(v, v, squares, columns - i);
    }
    float factor = 1.0f / sqrtf(reduce(squares) / (float)columns + epsilon);
    for (size_t i = 0; i < columns; i += LANES) {
        f32x16 v = load(x + i, columns - i) * factor * load_bf16(weight + i, columns - i);
        store(out + i, v, columns - i);
    }
}

static void rope(float *heads, size_t head_count, size_t head_dim, const float *cosines, const float *sines) {
    size_t half = head_dim / 2;
    for (size_t h = 0; h < head_count; h++)
        for (size_t i = 0; i < half; i += LANES) {
            float *first = heads + h * head_dim + i, *second = first + half;
            f32x16 a = load(first, half - i), b = load(second, half - i);
            f32x16 cosine = load(cosines + i, half - i), sine = load(sines + i, half - i);
            store(first, fma16(-b, sine, a * cosine), half - i);
            store(second, fma16(a, sine, b * cosine), half - i);
        }
}

static void swiglu(const float *gate_up, size_t columns, float limit, float alpha, float *out) {
    for (size_t i = 0; i < columns; i += LANES) {
        size_t left = 2 * (columns - i);
        f32x16 a = load(gate_up + 2 * i, left), b = splat(0);
        if (left > LANES) b = load(gate_up + 2 * i + LANES, left - LANES);
        f32x16 g = SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        f32x16 u = SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        g = g > limit ? splat(limit) : g;
        u = u > limit ? splat(limit) : u;
        u = u < -limit ? splat(-limit) : u;
        store(out + i, g / (1.0f + exp16(-alpha * g)) * (u + 1.0f), columns - i);
    }
}

static void combine_f32(
    const float *residual, const float *rows, const float *weights, size_t count, size_t columns, float *out) {
    for (size_t i = 0; i < columns; i += LANES) {
        f32x16 sum = splat(0);
        for (size_t k = 0; k < count; k++)
            sum = fma16(splat(weights[k]), load(rows + k * columns + i, columns - i), sum);
        store(out + i, load(residual + i, columns - i) + sum, columns - i);
    }
}

static void combine_bf16(
    const float *residual, const uint16_t *rows, const float *weights, size_t count, size_t columns, float *out) {
    for (size_t i = 0; i < columns; i += LANES) {
        f32x16 sum = splat(0);
        for (size_t k = 0; k < count; k++)
            sum = fma16(splat(weights[k]), load_bf16(rows + k * columns + i, columns - i), sum);
        store(out + i, load(residual + i, columns - i) + sum, columns - i);
    }
}

static void f32_to_bf16(const float *x, size_t count, uint16_t *out) {
    for (size_t i = 0; i < count; i += LANES) {
        u16x16 halves = __builtin_convertvector(rounded_to_bf16(load(x + i, count - i)), u16x16);
        memcpy(out + i, &halves, (count - i < LANES ? count - i : LANES) * sizeof *out);
    }
}

static void bf16_to_f32(const uint16_t *x, size_t count, float *out) {
    for (size_t i = 0; i < count; i += LANES) store(out + i, load_bf16(x + i, count - i), count - i);
}

/// The largest of `x` and of `floor`, which stays when it is not a number.
INLINE float largest_of(f32x16 x) {
    float largest = x[0];
    for (int lane = 1; lane < LANES; lane++) largest = x[lane] > largest ? x[lane] : largest;
    return largest;
}

INLINE float maximum_of(const float *x, size_t count, float floor) {
    f32x16 largest = splat(floor);
    for (size_t i = 0; i < count; i += LANES)
        largest = larger(lanes_below(count - i) ? load(x + i, count - i) : splat(floor), largest);
    return largest_of(largest);
}

/// sums + exp(x - maximum) for up to sixteen elements of which `left` exist; the terms go to `terms` unless it is NULL.
INLINE f32x16 add_exp(f32x16 sums, const float *x, size_t left, float maximum, float *terms) {
    f32x16 term = exp16_below_zero(load(x, left) - maximum);
    if (terms) store(terms, term, left);
    return lanes_below(left) ? sums + term : sums;
}

static void max_and_sum_exp(const float *x, size_t count, float *max, float *sum) {
    float maximum = maximum_of(x, count, x[0]) + 0.0f;  // a zero maximum is +0, whichever zero came first
    f32x16 sums = splat(0);
    for (size_t i = 0; i < count; i += LANES) sums = add_exp(sums, x + i, count - i, maximum, NULL);
    *max = maximum;
    *sum = reduce(sums);
}

static void exp_weights(const float *x, size_t count, float max, float temperature, float *out, float *sum) {
    f32x16 sums = splat(0);
    for (size_t i = 0; i < count; i += LANES) {
        f32x16 term = exp16((load(x + i, count - i) - max) / temperature);
        sums = lanes_below(count - i) ? sums + term : sums;
        store(out + i, term, count - i);
    }
    *sum = reduce(sums);
}

static void keep_weights(const float *x, size_t count, float least, float floor, float *weights, float *sum) {
    f32x16 sums = splat(0);
    for (size_t i = 0; i < count; i += LANES) {
        f32x16 weight = load(weights + i, count - i);
        weight = ((load(x + i, count - i) >= least) & (weight >= floor)) ? weight : splat(0);
        sums = lanes_below(count - i) ? sums + weight : sums;
        store(weights + i, weight, count - i);
    }
    *sum = reduce(sums);
}

#endif
