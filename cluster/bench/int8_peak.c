// Prints how many int8 operations this machine's threads do together at best, in TOP/s; a multiply-add is two. Dot
// products of registers alone, so that no memory is in the way; the best of so many rounds. Run it with
// `int8_peak [threads [rounds]]`; the benchmarks compile it for the machine that they run on.
#include "together.h"
#include <stdint.h>
#include <string.h>

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

// Enough sums to hide the latency of one, few enough for 16 registers.
enum { SUMS = 12, STEPS = 1 << 24 };

static void multiply_add(void *kept) {
    vector a, b, sums[SUMS];
    memset(&a, 1, sizeof a), memset(&b, 1, sizeof b), memset(sums, 0, sizeof sums);
    for (int step = 0; step < STEPS; step++)
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) {
            // Costs nothing, but the compiler must take `a` for another value and compute the product again.
            __asm__ volatile("" : IN_REGISTER(a));
            sums[i] = MULTIPLY_ADD(sums[i], a, b);
        }
    memcpy(kept, sums, sizeof sums);
}

static double peak(size_t threads) {
    static vector kept[MAX_THREADS][SUMS];
    double seconds = seconds_together(threads, multiply_add, kept, sizeof *kept);
    return 2.0 * (double)sizeof(vector) * SUMS * STEPS * (double)threads / seconds / 1e12;
}

int main(int argc, char **argv) {
    long threads = argc > 1 ? atol(argv[1]) : 1;
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    if (threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "int8_peak: threads must be 1 to %d\n", MAX_THREADS);
        return 1;
    }
    double best = 0;
    for (int round = 0; round < rounds; round++) {
        double found = peak((size_t)threads);
        if (found > best) best = found;
    }
    printf("%.3f\n", best);
    return 0;
}
