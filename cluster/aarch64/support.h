// What the tests of the kernels share: numbers, memory that ends at an inaccessible page, and comparison.
#ifndef SHOAL_TEST_SUPPORT_H
#define SHOAL_TEST_SUPPORT_H

#include "kernels_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const shoal_kernels *variant, *scalar;

/// The same numbers on every machine.
static uint64_t random_state;
static uint64_t random_word(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
/// At least `least`, at most `most`.
static size_t random_between(size_t least, size_t most) { return least + random_word() % (most - least + 1); }

/// Which numbers a test feeds.
typedef enum { ORDINARY, WIDE, FAINT, ZEROS, DENORMAL, HUGE_VALUES, SPECIAL, VALUE_KINDS } value_kind;
static const char *const kind_names[VALUE_KINDS] = {"ordinary", "wide", "faint", "zeros", "denormal", "huge", "special"};

static float random_float(value_kind kind) {
    uint64_t word = random_word();
    float unit = (float)((int32_t)(word & 0xffffff) - 0x800000) / 0x800000;
    uint32_t choice = (uint32_t)(word >> 32);
    switch (kind) {
        case WIDE: return unit * shoal_float_from_bits((127 - 40 + choice % 81) << 23);
        // Around 2^-56, below which factors of bfloat16 products are zero.
        case FAINT: return unit * shoal_float_from_bits((127 - 62 + choice % 13) << 23);
        case ZEROS: return choice % 3 == 0 ? 0.0f : choice % 3 == 1 ? -0.0f : unit;
        case DENORMAL: return shoal_float_from_bits(choice & 0x80ffffffu);
        case HUGE_VALUES: return unit * 0x1.fffffep127f;
        case SPECIAL: {
            static const uint32_t rare[] = {
                0x7fc00000, 0x7f800000, 0xff800000, 0x7fa00000, 0x80000000, 0x7f7fffff,
            };
            return choice % 40 ? unit : shoal_float_from_bits(rare[choice / 40 % 6]);
        }
        default: return unit;
    }
}

#define MOST_BUFFERS 64
static struct {
    void *mapping;
    size_t bytes;
} buffers[MOST_BUFFERS];
static size_t buffer_count;

/// Zeros that last until `release`; a kernel that touches a byte beyond them crashes.
static void *guarded(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), data = (bytes + page - 1) / page * page;
    char *mapping = mmap(NULL, data + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer_count == MOST_BUFFERS || mapping == MAP_FAILED || mprotect(mapping + data, page, PROT_NONE) != 0) {
        fprintf(stderr, "cannot map %zu bytes as buffer %zu\n", bytes, buffer_count);
        exit(2);
    }
    buffers[buffer_count].mapping = mapping;
    buffers[buffer_count++].bytes = data + page;
    return mapping + data - bytes;
}
static void release(void) {
    while (buffer_count > 0) {
        buffer_count--;
        munmap(buffers[buffer_count].mapping, buffers[buffer_count].bytes);
    }
}

static uint8_t *random_bytes(size_t count) {
    uint8_t *bytes = guarded(count);
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)(random_word() >> 56);
    return bytes;
}
static float *random_floats(value_kind kind, size_t count) {
    float *floats = guarded(count * sizeof *floats);
    for (size_t i = 0; i < count; i++) floats[i] = random_float(kind);
    return floats;
}
static uint16_t *random_bfloats(value_kind kind, size_t count) {
    uint16_t *bfloats = guarded(count * sizeof *bfloats);
    for (size_t i = 0; i < count; i++) bfloats[i] = (uint16_t)(shoal_bits_of(random_float(kind)) >> 16);
    return bfloats;
}
/// Where a kernel writes: filled, so that what it leaves alone is compared too.
static float *results(size_t count) {
    float *floats = guarded(count * sizeof *floats);
    for (size_t i = 0; i < count; i++) floats[i] = -77;
    return floats;
}

/// Of all that the scalar kernels computed.
static uint64_t digest = 0xcbf29ce484222325u;
static void digest_word(uint32_t word) { digest = (digest ^ word) * 0x100000001b3u; }

static char failure[256];  // the first of a test; empty while there is none
static void __attribute__((format(printf, 1, 2))) fail(const char *format, ...) {
    if (*failure) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure, sizeof failure, format, arguments);
    va_end(arguments);
}

/// Bit for bit, but that any NaN equals any other.
static void expect_floats(const float *found, const float *expected, size_t count, const char *context) {
    for (size_t i = 0; i < count; i++) {
        int both_nan = found[i] != found[i] && expected[i] != expected[i];
        if (!both_nan && shoal_bits_of(found[i]) != shoal_bits_of(expected[i]))
            fail("%s: [%zu] is %a, not %a", context, i, (double)found[i], (double)expected[i]);
        digest_word(expected[i] != expected[i] ? 0x7fc00000 : shoal_bits_of(expected[i]));
    }
}
static void expect_bytes(const void *found, const void *expected, size_t count, const char *context) {
    const uint8_t *a = found, *b = expected;
    for (size_t i = 0; i < count; i++) {
        if (a[i] != b[i]) fail("%s: byte %zu is %d, not %d", context, i, a[i], b[i]);
        digest_word(b[i]);
    }
}

#endif
