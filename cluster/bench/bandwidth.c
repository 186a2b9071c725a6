// Prints how fast this machine's threads read memory together: for 1, 2, … threads one line "THREADS GB/s", the best of
// so many rounds. Run it with `bandwidth [threads [rounds]]`; cluster/bench/serving compiles it.
#include "together.h"
#include <stdint.h>
#include <string.h>

// Larger than any last-level cache; each thread reads its own share.
enum { BYTES = 768 << 20 };

// So far ahead of the reading the second-level cache is asked for what comes, in every second round: while others keep the
// memory busy, the hardware's own prefetching does not get all that there is.
enum { AHEAD = 16 << 10 };

static unsigned char *memory;

typedef struct {
    size_t begin, end;
    int asks;  // ahead
    volatile uint64_t sum;
} share;

static void read_share(void *argument) {
    share *own = argument;
    uint64_t sum[8] = {0};
    for (size_t i = own->begin; i < own->end; i += 64) {
        if (own->asks) __builtin_prefetch((const void *)((uintptr_t)memory + i + AHEAD), 0, 2);
        for (size_t j = 0; j < 8; j++) {
            uint64_t word;
            memcpy(&word, memory + i + 8 * j, sizeof word);
            sum[j] ^= word;
        }
    }
    own->sum = sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

static double bandwidth(size_t threads, int asks) {
    share shares[MAX_THREADS];
    for (size_t i = 0; i < threads; i++) {
        size_t lines = BYTES / 64;
        shares[i] = (share){lines * i / threads * 64, lines * (i + 1) / threads * 64, asks, 0};
    }
    return BYTES / seconds_together(threads, read_share, shares, sizeof *shares) / 1e9;
}

int main(int argc, char **argv) {
    long threads = argc > 1 ? atol(argv[1]) : 1;
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    memory = aligned_alloc(4096, BYTES);
    if (!memory || threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "bandwidth: needs %d MiB and 1 to %d threads\n", BYTES >> 20, MAX_THREADS);
        return 1;
    }
    memset(memory, 1, BYTES);
    for (long count = 1; count <= threads; count++) {
        double best = 0;
        for (int round = 0; round < rounds; round++) {
            double found = bandwidth((size_t)count, round % 2);
            if (found > best) best = found;
        }
        printf("%ld %.2f\n", count, best);
    }
    return 0;
}
