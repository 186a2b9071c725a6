// How fast an instruction is on registers alone, so that no memory is in the way; the best of so many rounds. The including
// file defines `vector`, IN_REGISTER, MULTIPLY_ADD, and WIDTH, the multiply-adds that one of these is.
#include "together.h"
#include <string.h>

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
    return 2.0 * (double)(WIDTH) * SUMS * STEPS * (double)threads / seconds / 1e12;
}

int main(int argc, char **argv) {
    long threads = argc > 1 ? atol(argv[1]) : 1;
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    if (threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "peak: threads must be 1 to %d\n", MAX_THREADS);
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
