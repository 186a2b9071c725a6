// A persistent pool: one loop at a time, nothing allocated per loop.
//
// Each thread has a share of the loop's indices, one run of neighbours. It takes them from the front, and when it has no
// more, from the back of the others' shares: neighbouring indices are neighbouring memory, and a thread that goes on
// where it was keeps the stream of its reads.
//
// The caller returns when `unfinished` is zero. A claim that succeeds belongs to the loop whose fields are in place,
// because the caller cannot replace them before that index is finished; so a thread that wakes late needs no notion of
// which loop it woke for, and no loop waits for it.
//
// An idle thread spins for some microseconds, which is the time between two loops of one forward pass, and then parks:
// several pools may share few cores, and a spinning thread would take another's.
#define _GNU_SOURCE
#include "Kernels.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPINS 400  // about ten microseconds

/// One thread's, on cache lines of its own.
typedef struct {
    _Alignas(128) _Atomic uint64_t share;  // the first unclaimed index, and above it 2^32 times the one after the last
    pthread_t handle;                      // the caller, who has the first lane, needs none
    struct shoal_thread_pool *pool;
} lane;

struct shoal_thread_pool {
    void (*work)(void *context, size_t index);  // these two change only while `unfinished` is zero
    void *context;
    atomic_size_t unfinished;
    atomic_uint loops;  // so many have begun; and one more for the end
    atomic_bool ending;
    unsigned threads;
    int shall_pin;  // at the next loop, when it is known who calls
    pthread_mutex_t mutex;
    pthread_cond_t work_available, work_done;
    unsigned parked;  // threads that wait for work; guarded by the mutex
    lane lanes[];
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/// Takes an index of a lane's share, if any is left: its owner the first, others the last.
static int claim_of(lane *lane, int is_owner, size_t *index) {
    uint64_t share = atomic_load_explicit(&lane->share, memory_order_relaxed);
    for (;;) {
        uint64_t begin = share & UINT32_MAX, end = share >> 32;
        if (begin >= end) return 0;
        uint64_t rest = is_owner ? share + 1 : share - ((uint64_t)1 << 32);
        if (atomic_compare_exchange_weak_explicit(
                &lane->share, &share, rest, memory_order_acquire, memory_order_relaxed)) {
            *index = is_owner ? begin : end - 1;
            return 1;
        }
    }
}

static int claim(lane *own, size_t *index) {
    shoal_thread_pool *pool = own->pool;
    if (claim_of(own, 1, index)) return 1;
    for (unsigned i = 0; i < pool->threads; i++)
        if (claim_of(&pool->lanes[i], 0, index)) return 1;
    return 0;
}

static void run_indices(lane *own) {
    shoal_thread_pool *pool = own->pool;
    size_t index;
    while (claim(own, &index)) {
        pool->work(pool->context, index);
        if (atomic_fetch_sub_explicit(&pool->unfinished, 1, memory_order_acq_rel) == 1) {
            // Under the mutex, or the caller could miss it between looking and waiting.
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->work_done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static void *thread_main(void *argument) {
    lane *own = argument;
    shoal_thread_pool *pool = own->pool;
    for (unsigned seen = 0;;) {
        unsigned loops = seen;
        for (int spin = 0; spin < SPINS && loops == seen; spin++) {
            loops = atomic_load_explicit(&pool->loops, memory_order_acquire);
            if (loops == seen) pause_briefly();
        }
        if (loops == seen) {
            pthread_mutex_lock(&pool->mutex);
            pool->parked++;
            while ((loops = atomic_load_explicit(&pool->loops, memory_order_acquire)) == seen)
                pthread_cond_wait(&pool->work_available, &pool->mutex);
            pool->parked--;
            pthread_mutex_unlock(&pool->mutex);
        }
        if (atomic_load_explicit(&pool->ending, memory_order_relaxed)) return NULL;
        seen = loops;
        run_indices(own);
    }
}

shoal_thread_pool *shoal_thread_pool_create(unsigned threads) {
    if (threads < 1) return NULL;
    size_t size = sizeof(shoal_thread_pool) + threads * sizeof(lane);
    shoal_thread_pool *pool = aligned_alloc(_Alignof(lane), (size + _Alignof(lane) - 1) / _Alignof(lane) * _Alignof(lane));
    if (!pool) return NULL;
    memset(pool, 0, size);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work_available, NULL);
    pthread_cond_init(&pool->work_done, NULL);
    for (unsigned i = 0; i < threads; i++) pool->lanes[i].pool = pool;
    for (pool->threads = 1; pool->threads < threads; pool->threads++) {
        lane *lane = &pool->lanes[pool->threads];
        if (pthread_create(&lane->handle, NULL, thread_main, lane) != 0) {
            shoal_thread_pool_destroy(pool);
            return NULL;
        }
    }
    return pool;
}

void shoal_thread_pool_pin(shoal_thread_pool *pool) { pool->shall_pin = 1; }

/// Binds lane i to the i-th of the processors that the process may use, going round where there are fewer. Two pools
/// that one thread calls in turn so agree on its processor.
static void pin(shoal_thread_pool *pool) {
#if defined(__linux__)
    cpu_set_t allowed;
    // The process's first thread, which computes nothing: the caller's own set may be the work of another pool.
    if (sched_getaffinity(getpid(), sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0) return;
    int cpu = -1;
    for (unsigned i = 0; i < pool->threads; i++) {
        do cpu = (cpu + 1) % CPU_SETSIZE;
        while (!CPU_ISSET(cpu, &allowed));
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(i == 0 ? pthread_self() : pool->lanes[i].handle, sizeof one, &one);
    }
#endif
}

void shoal_thread_pool_run(
    shoal_thread_pool *pool, size_t count, void (*work)(void *context, size_t index), void *context) {
    if (pool->shall_pin) {
        pool->shall_pin = 0;
        pin(pool);
    }
    if (pool->threads == 1 || count <= 1 || count > UINT32_MAX) {
        for (size_t index = 0; index < count; index++) work(context, index);
        return;
    }
    pool->work = work;
    pool->context = context;
    atomic_store_explicit(&pool->unfinished, count, memory_order_relaxed);
    for (size_t i = 0; i < pool->threads; i++) {
        uint64_t begin = count * i / pool->threads, end = count * (i + 1) / pool->threads;
        atomic_store_explicit(&pool->lanes[i].share, begin | end << 32, memory_order_release);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->loops, 1, memory_order_release);
    size_t wanted = count - 1 < pool->parked ? count - 1 : pool->parked;
    for (size_t i = 0; i < wanted; i++) pthread_cond_signal(&pool->work_available);
    pthread_mutex_unlock(&pool->mutex);

    run_indices(&pool->lanes[0]);
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
    atomic_fetch_add_explicit(&pool->loops, 1, memory_order_release);
    pthread_cond_broadcast(&pool->work_available);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 1; i < pool->threads; i++) pthread_join(pool->lanes[i].handle, NULL);
    pthread_cond_destroy(&pool->work_done);
    pthread_cond_destroy(&pool->work_available);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
