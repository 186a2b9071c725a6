// How the benchmarks read memory to find out how fast it is.
#include <stdint.h>
#include <string.h>

/// Reads so many bytes, a multiple of 64. With `asks` the second-level cache is asked for what comes, some way ahead: while
/// others keep the memory busy, the hardware's own prefetching does not get all that there is. The result is to be used, lest
/// nothing be read.
static uint64_t read_memory(const unsigned char *memory, size_t bytes, int asks) {
    enum { AHEAD = 16 << 10 };
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes; i += 64) {
        if (asks) __builtin_prefetch((const void *)((uintptr_t)memory + i + AHEAD), 0, 2);
        for (size_t j = 0; j < 8; j++) {
            uint64_t word;
            memcpy(&word, memory + i + 8 * j, sizeof word);
            sum[j] ^= word;
        }
    }
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}
