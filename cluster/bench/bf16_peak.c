// Prints how many operations on bfloat16 this machine's threads do together at best, in TOP/s; a multiply-add is two. Where
// there are no dot products of bfloat16, they are fused multiply-adds in float32. Run it with
// `bf16_peak [threads [rounds]]`; the benchmarks compile it for the machine that they run on.
#if defined(__AVX512BF16__)
#include <immintrin.h>
typedef __m512 vector;
#define IN_REGISTER "+v"
#define MULTIPLY_ADD(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define WIDTH (sizeof(vector) / 2)
#elif defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 vector;
#define IN_REGISTER "+v"
#define MULTIPLY_ADD(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#elif defined(__FMA__)
#include <immintrin.h>
typedef __m256 vector;
#define IN_REGISTER "+x"
#define MULTIPLY_ADD(sum, a, b) _mm256_fmadd_ps(a, b, sum)
#elif defined(__ARM_NEON)
#include <arm_neon.h>
typedef float32x4_t vector;
#define IN_REGISTER "+w"
#define MULTIPLY_ADD(sum, a, b) vfmaq_f32(sum, a, b)
#else
#error "bf16_peak knows AVX-512, FMA and NEON, and the processor has none of them"
#endif

#ifndef WIDTH
#define WIDTH (sizeof(vector) / 4)
#endif

#include "peak.h"
