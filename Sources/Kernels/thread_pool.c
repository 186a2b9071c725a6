// A persistent pool: one loop at a time, nothing allocated per loop.
//
// Threads claim indices by counting `unclaimed` down, and the caller returns when `unfinished` is zero. A claim that
// succeeds belongs to the loop whose fields are in place, because the caller cannot replace them before that index is
// finished; so a thread that wakes late needs no notion of which loop it woke for, and no loop waits for it.
//
// An idle thread spins for some microseconds, which is the time between two loops of one forward pass, and then parks:
// several pools may share few cores, and a spinning thread would take another's.
#include "Kernels.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SPINS 400  // about ten microseconds

struct shoal_thread_pool {
    void (*work)(void *context, size_t index);  // these three change only while `unfinished` is zero
    void *context;
    size_t count;
    atomic_size_t unclaimed, unfinished;
    atomic_bool ending;
    unsigned threads;
    pthread_mutex_t mutex;
    pthread_cond_t work_available, work_done;
    unsigned parked;  // threads that wait for work; guarded by the mutex
    pthread_t handles[];
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/// Takes one index, if any is left.
static int claim(shoal_thread_pool *pool, size_t *index) {
    size_t left = atomic_load_explicit(&pool->unclaimed, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak_explicit(
                &pool->unclaimed, &left, left - 1, memory_order_acquire, memory_order_relaxed)) {
            *index = pool->count - left;
            return 1;
        }
    return 0;
}

static void run_indices(shoal_thread_pool *pool) {
    size_t index;
    while (claim(pool, &index)) {
        pool->work(pool->context, index);
        if (atomic_fetch_sub_explicit(&pool->unfinished, 1, memory_order_acq_rel) == 1) {
            // Under the mutex, or the caller could miss it between looking and waiting.
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->work_done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static int is_idle(shoal_thread_pool *pool) {
    return atomic_load_explicit(&pool->unclaimed, memory_order_relaxed) == 0 &&
           !atomic_load_explicit(&pool->ending, memory_order_relaxed);
}

static void *thread_main(void *argument) {
    shoal_thread_pool *pool = argument;
    while (!atomic_load_explicit(&pool->ending, memory_order_relaxed)) {
        for (int spin = 0; spin < SPINS && is_idle(pool); spin++) pause_briefly();
        pthread_mutex_lock(&pool->mutex);
        pool->parked++;
        while (is_idle(pool)) pthread_cond_wait(&pool->work_available, &pool->mutex);
        pool->parked--;
        pthread_mutex_unlock(&pool->mutex);
        run_indices(pool);
    }
    return NULL;
}

shoal_thread_pool *shoal_thread_pool_create(unsigned threads) {
    if (threads < 1) return NULL;
    shoal_thread_pool *pool = calloc(1, sizeof *pool + (threads - 1) * sizeof(pthread_t));
    if (!pool) return NULL;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work_available, NULL);
    pthread_cond_init(&pool->work_done, NULL);
    for (pool->threads = 1; pool->threads < threads; pool->threads++)
        if (pthread_create(&pool->handles[pool->threads - 1], NULL, thread_main, pool) != 0) {
            shoal_thread_pool_destroy(pool);
            return NULL;
        }
    return pool;
}

void shoal_thread_pool_run(
    shoal_thread_pool *pool, size_t count, void (*work)(void *context, size_t index), void *context) {
    if (pool->threads == 1 || count <= 1) {
        for (size_t index = 0; index < count; index++) work(context, index);
        return;
    }
    pool->work = work;
    pool->context = context;
    pool->count = count;
    atomic_store_explicit(&pool->unfinished, count, memory_order_relaxed);
    pthread_mutex_lock(&pool->mutex);
    atomic_store_explicit(&pool->unclaimed, count, memory_order_release);
    size_t wanted = count - 1 < pool->parked ? count - 1 : pool->parked;
    for (size_t i = 0; i < wanted; i++) pthread_cond_signal(&pool->work_available);
    pthread_mutex_unlock(&pool->mutex);

    run_indices(pool);
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load_explicit(&pool->unfinished, memory_order_acquire) == 0) return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load_explicit(&pool->unfinished, memory_order_acquire) > 0)
        pthread_cond_wait(&pool->work_done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

// A closure as Swift passes it: a function of Swift's calling convention and its context, both in registers.
typedef __attribute__((swiftcall)) void closure_function(size_t index, __attribute__((swift_context)) void *context);
struct closure {
    closure_function *function;
    void *context;
};

static void call_closure(void *context, size_t index) {
    const struct closure *closure = context;
    closure->function(index, closure->context);
}

__attribute__((swiftcall)) void shoal_thread_pool_run_closure(
    shoal_thread_pool *pool, size_t count, closure_function *function, void *context) {
    struct closure closure = {function, context};
    shoal_thread_pool_run(pool, count, call_closure, &closure);
}

unsigned shoal_thread_pool_threads(const shoal_thread_pool *pool) { return pool->threads; }

void shoal_thread_pool_destroy(shoal_thread_pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    atomic_store_explicit(&pool->ending, 1, memory_order_relaxed);
    pthread_cond_broadcast(&pool->work_available);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i + 1 < pool->threads; i++) pthread_join(pool->handles[i], NULL);
    pthread_cond_destroy(&pool->work_done);
    pthread_cond_destroy(&pool->work_available);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
