// Prints how many int8 operations this machine's threads do together at best, in TOP/s; a multiply-add is two. Run it
// with `int8_peak [threads [rounds]]`; the benchmarks compile it for the machine that they run on.
#include <stdint.h>

#if defined(__AVX512VNNI__)
#include <immintrin.h>
typedef __m512i vector;
#define IN_REGISTER "+v"
#define MULTIPLY_ADD(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#elif defined(__AVX2__)
#include <immintrin.h>
typedef __m256i vector;
#define IN_REGISTER "+x"
#if defined(__AVXVNNI__)
#define MULTIPLY_ADD(sum, a, b) _mm256_dpbusd_avx_epi32(sum, a, b)
#else
#define MULTIPLY_ADD(sum, a, b) \
    _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)))
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
typedef int8x16_t vector;
#define IN_REGISTER "+w"
#define MULTIPLY_ADD(sum, a, b) vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), a, b))
#else
#error "int8_peak knows AVX-512 VNNI, AVX2 and NEON with dot products, and the processor has none of them"
#endif

// Multiply-adds in one MULTIPLY_ADD.
#define WIDTH sizeof(vector)

#include "peak.h"
