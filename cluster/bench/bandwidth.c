// Prints how fast this machine's threads read memory together: for 1, 2, … threads one line "THREADS GB/s", the best of
// so many rounds. Run it with `bandwidth [threads [rounds]]`; cluster/bench/serving compiles it.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Larger than any last-level cache; each thread reads its own share.
enum { BYTES = 768 << 20, MAX_THREADS = 64 };

static unsigned char *memory;
static pthread_barrier_t barrier;

typedef struct {
    size_t begin, end;
    volatile uint64_t sum;
    // When it read: the thread that waits for all may itself wait for a processor, and would see too little.
    double started, ended;
} share;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *read_share(void *argument) {
    share *own = argument;
    uint64_t sum[8] = {0};
    pthread_barrier_wait(&barrier);
    own->started = now();
    for (size_t i = own->begin; i < own->end; i += 64)
        for (size_t j = 0; j < 8; j++) {
            uint64_t word;
            memcpy(&word, memory + i + 8 * j, sizeof word);
            sum[j] ^= word;
        }
    own->sum = sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
    own->ended = now();
    return NULL;
}

static double bandwidth(size_t threads) {
    pthread_t ids[MAX_THREADS];
    share shares[MAX_THREADS];
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++) {
        size_t lines = BYTES / 64;
        shares[i] = (share){lines * i / threads * 64, lines * (i + 1) / threads * 64, 0, 0, 0};
        if (pthread_create(&ids[i], NULL, read_share, &shares[i])) {
            fprintf(stderr, "bandwidth: cannot start a thread\n");
            exit(1);
        }
    }
    double started = 0, ended = 0;
    for (size_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        if (i == 0 || shares[i].started < started) started = shares[i].started;
        if (i == 0 || shares[i].ended > ended) ended = shares[i].ended;
    }
    pthread_barrier_destroy(&barrier);
    return BYTES / (ended - started) / 1e9;
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
            double found = bandwidth((size_t)count);
            if (found > best) best = found;
        }
        printf("%ld %.2f\n", count, best);
    }
    return 0;
}
