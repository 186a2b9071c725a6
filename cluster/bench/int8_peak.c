// Prints how many int8 operations this machine's threads do together at best, in TOP/s; a multiply-add is two. Dot
// products of registers alone, so that no memory is in the way; the best of so many rounds. Run it with
// `int8_peak [threads [rounds]]`; cluster/bench/against-llama-cpp compiles it for the machine it runs on.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
enum { SUMS = 12, STEPS = 1 << 24, MAX_THREADS = 64 };

static pthread_barrier_t barrier;

typedef struct {
    vector sums[SUMS];
    double started, ended;
} share;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *multiply_add(void *argument) {
    share *own = argument;
    vector a, b, sums[SUMS];
    memset(&a, 1, sizeof a), memset(&b, 1, sizeof b), memset(sums, 0, sizeof sums);
    pthread_barrier_wait(&barrier);
    own->started = now();
    for (int step = 0; step < STEPS; step++)
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) {
            // Costs nothing, but the compiler must take `a` for another value and compute the product again.
            __asm__ volatile("" : IN_REGISTER(a));
            sums[i] = MULTIPLY_ADD(sums[i], a, b);
        }
    own->ended = now();
    memcpy(own->sums, sums, sizeof sums);
    return NULL;
}

static double peak(size_t threads) {
    static share shares[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, multiply_add, &shares[i])) {
            fprintf(stderr, "int8_peak: cannot start a thread\n");
            exit(1);
        }
    double started = 0, ended = 0;
    for (size_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        if (i == 0 || shares[i].started < started) started = shares[i].started;
        if (i == 0 || shares[i].ended > ended) ended = shares[i].ended;
    }
    pthread_barrier_destroy(&barrier);
    return 2.0 * (double)sizeof(vector) * SUMS * STEPS * (double)threads / (ended - started) / 1e12;
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
