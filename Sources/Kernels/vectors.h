// Vectors of sixteen lanes, the width of the sixteen partial sums, in the compiler's own vector types: one ZMM register
// under AVX-512, two YMM under AVX2, four of NEON's. Included inside the target region of an instruction set's file;
// everything is inlined, because the calling convention of such vectors depends on the target.
#ifndef SHOAL_VECTORS_H
#define SHOAL_VECTORS_H

#include "kernels_internal.h"
#include <math.h>

#pragma clang diagnostic ignored "-Wpsabi"

#define INLINE static inline __attribute__((always_inline))
#define LANES 16

typedef float f32x16 __attribute__((ext_vector_type(16)));
typedef int32_t i32x16 __attribute__((ext_vector_type(16)));
typedef uint32_t u32x16 __attribute__((ext_vector_type(16)));
typedef uint16_t u16x16 __attribute__((ext_vector_type(16)));
typedef int16_t i16x32 __attribute__((ext_vector_type(32)));

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

INLINE f32x16 splat(float x) { return (f32x16)x; }
INLINE u32x16 bits_of(f32x16 x) { return (u32x16)x; }
INLINE f32x16 from_bits(u32x16 bits) { return (f32x16)bits; }
INLINE f32x16 fma16(f32x16 a, f32x16 b, f32x16 c) { return __builtin_elementwise_fma(a, b, c); }

/// The first `left` lanes from memory (all sixteen when there are more), the others zero. The partial case has its own
/// buffer: shared with the full one it would take every vector through memory.
INLINE f32x16 load(const float *x, size_t left) {
    f32x16 v;
    if (left >= LANES) {
        memcpy(&v, x, sizeof v);
        return v;
    }
    float some[LANES] = {0};
    memcpy(some, x, left * sizeof *x);
    memcpy(&v, some, sizeof v);
    return v;
}
INLINE void store(float *x, f32x16 v, size_t left) {
    if (left >= LANES) {
        memcpy(x, &v, sizeof v);
        return;
    }
    float some[LANES];
    memcpy(some, &v, sizeof v);
    memcpy(x, some, left * sizeof *x);
}
INLINE f32x16 load_bf16(const uint16_t *x, size_t left) {
    u16x16 v;
    if (left >= LANES) {
        memcpy(&v, x, sizeof v);
    } else {
        uint16_t some[LANES] = {0};
        memcpy(some, x, left * sizeof *x);
        memcpy(&v, some, sizeof v);
    }
    return from_bits(__builtin_convertvector(v, u32x16) << 16);
}
/// One bfloat16 in every lane; broadcast in 16 bits, which takes no detour through a scalar register.
INLINE f32x16 splat_bf16(uint16_t x) {
    typedef uint16_t u16x32 __attribute__((ext_vector_type(32)));
    return from_bits((u32x16)(u16x32)(x) << 16);
}

/// Asks for a cache line that will be wanted a while later, at an address where there may be nothing. It comes to the
/// second-level cache: more lines can be on their way there than to the first.
INLINE void ask_for(uintptr_t address) { __builtin_prefetch((const void *)address, 0, 2); }

/// The same for the next weights: they come to the first-level cache, which gets more of the memory than the second does.
INLINE void ask_for_next(uintptr_t address) { __builtin_prefetch((const void *)address, 0, 3); }

/// The same for a line that will be written: it comes to the first-level cache, and leaves the other cores'.
INLINE void ask_to_write(const float *address) { __builtin_prefetch(address, 1, 3); }

/// Lanes that hold one of the first `left` elements.
INLINE i32x16 lanes_below(size_t left) {
    const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane < (i32x16)(int32_t)(left < LANES ? left : LANES);
}

/// The partial sums after sixteen products, of which only `left` exist. A missing product leaves its sum alone: adding
/// zero would turn -0 into +0.
INLINE f32x16 accumulate(f32x16 a, f32x16 b, f32x16 sums, size_t left) {
    f32x16 next = fma16(a, b, sums);
    return left >= LANES ? next : lanes_below(left) ? next : sums;
}

/// a > b ? a : b, as the scalar code compares.
INLINE f32x16 larger(f32x16 a, f32x16 b) { return a > b ? a : b; }

#define SHUFFLE __builtin_shufflevector

/// The reduction tree of the sixteen partial sums.
INLINE float reduce(f32x16 p) {
    typedef float f32x8 __attribute__((ext_vector_type(8)));
    typedef float f32x4 __attribute__((ext_vector_type(4)));
    f32x8 eight = p.lo + p.hi;
    f32x4 four = eight.lo + eight.hi;
    return (four.x + four.z) + (four.y + four.w);
}

/// Where shoal_exp gives zero.
#define EXP_LEAST -87.3f

/// For n = rint(x / ln 2): exp(x - n ln 2).
INLINE f32x16 exp_of_rest(f32x16 x, f32x16 n) {
    f32x16 r = fma16(n, splat(-0.693359375f), x);
    r = fma16(n, splat(2.12194440e-4f), r);
    f32x16 p = splat(1.9875691500e-4f);
    p = fma16(p, r, splat(1.3981999507e-3f));
    p = fma16(p, r, splat(8.3334519073e-3f));
    p = fma16(p, r, splat(4.1665795894e-2f));
    p = fma16(p, r, splat(1.6666665459e-1f));
    p = fma16(p, r, splat(5.0000001201e-1f));
    return fma16(p, r * r, r) + 1.0f;
}

INLINE f32x16 rint_log2e(f32x16 x) { return __builtin_elementwise_rint(x * 1.44269504088896341f); }

/// shoal_exp, lane by lane.
INLINE f32x16 exp16(f32x16 x) {
    f32x16 tame = x >= EXP_LEAST && x <= 88.7f ? x : splat(0);  // so that every lane converts to an integer
    f32x16 n = rint_log2e(tame);
    i32x16 whole = __builtin_convertvector(n, i32x16), half = whole >> 1;
    f32x16 low = (f32x16)((half + 127) << 23);
    f32x16 high = (f32x16)((whole - half + 127) << 23);
    f32x16 p = exp_of_rest(tame, n) * low * high;
    p = x < EXP_LEAST ? splat(0) : p;
    p = x > 88.7f ? splat(INFINITY) : p;
    return x != x ? x : p;
}

/// The same of what is not above zero: down to EXP_LEAST the power of two needs no halving, for it is a normal number.
INLINE f32x16 exp16_below_zero(f32x16 x) {
    f32x16 tame = larger(x, splat(EXP_LEAST));
    f32x16 n = rint_log2e(tame);
    f32x16 p = exp_of_rest(tame, n) * (f32x16)((__builtin_convertvector(n, i32x16) + 127) << 23);
    p = x < EXP_LEAST ? splat(0) : p;
    return x != x ? x : p;
}

#endif
