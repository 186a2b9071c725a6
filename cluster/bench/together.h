// Times work that several threads do at once, for programs that measure what the machine can do.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_THREADS = 64 };

typedef struct {
    void (*work)(void *argument);
    void *argument;
    pthread_barrier_t *barrier;
    // The thread that waits for all may itself wait for a processor, and would see too much time.
    double started, ended;
} timed_work;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *work_in_time(void *argument) {
    timed_work *own = argument;
    pthread_barrier_wait(own->barrier);
    own->started = now();
    own->work(own->argument);
    own->ended = now();
    return NULL;
}

/// Seconds from the first thread's start to the last one's end. Thread i is given `arguments` + i * `size`.
static double seconds_together(size_t threads, void (*work)(void *argument), void *arguments, size_t size) {
    pthread_t ids[MAX_THREADS];
    timed_work all[MAX_THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++) {
        all[i] = (timed_work){work, (char *)arguments + i * size, &barrier, 0, 0};
        if (pthread_create(&ids[i], NULL, work_in_time, &all[i])) {
            fprintf(stderr, "cannot start a thread\n");
            exit(1);
        }
    }
    double started = 0, ended = 0;
    for (size_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        if (i == 0 || all[i].started < started) started = all[i].started;
        if (i == 0 || all[i].ended > ended) ended = all[i].ended;
    }
    pthread_barrier_destroy(&barrier);
    return ended - started;
}
