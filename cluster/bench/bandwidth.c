// Prints how fast this machine's threads read memory together: for 1, 2, … threads one line "THREADS GB/s", the best of
// so many rounds, every second of which asks ahead. Run it with `bandwidth [threads [rounds]]`; cluster/bench/serving
// compiles it.
#include "reading.h"
#include "together.h"

// Larger than any last-level cache; each thread reads its own share.
enum { BYTES = 768 << 20 };

static unsigned char *memory;

typedef struct {
    size_t begin, end;
    int asks;  // ahead
    volatile uint64_t sum;
} share;

static void read_share(void *argument) {
    share *own = argument;
    own->sum = read_memory(memory + own->begin, own->end - own->begin, own->asks);
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
