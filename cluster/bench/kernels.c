// Measures the kernels of every instruction set on one thread, at gpt-oss-20b's shapes, against what the same thread can
// do at most: the bandwidth with which it reads memory, and the rates of int8 and bfloat16 dot products, which int8_peak
// and bf16_peak print. Int8 and bfloat16 products take weights that nothing has read for 600 MB or nearly, as in decoding,
// so that no cache has them. Rounds of all variants follow each other, so that a busy machine is unjust to all alike; the
// best round of each is printed. Run it with `cluster/bench/kernels [rounds]`.
#include "Kernels.h"
#include "reading.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WEIGHT_BYTES = 600 << 20, MAX_TOKENS = 128, MAX_ROWS = 201088, MAX_COLUMNS = 2880 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(size_t bytes) {
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!memory) {
        fprintf(stderr, "kernels: cannot allocate %zu bytes\n", bytes);
        exit(1);
    }
    return memory;
}

static uint8_t *weights, *scales;
static uint16_t *float_weights;
static float *results;
static shoal_q8_rows int8_rows;
static shoal_bf16_rows bf16_rows;
static shoal_f32_rows float_rows;

/// Where the weights to be read next begin: at the first when the bandwidth was measured, which reads them all.
static size_t at;

/// So many bytes of weights, behind those of the last call; from the first on again where there are too few left.
static const uint8_t *next_weights(size_t bytes) {
    if (at + bytes > WEIGHT_BYTES) at = 0;
    const uint8_t *next = weights + at;
    at += bytes;
    return next;
}

typedef struct {
    const char *name;
    double (*run)(const shoal_kernels *kernels, size_t tokens, double *bytes);  // multiply-adds done
    size_t tokens;
} benchmark;

static double gate_up_q8(const shoal_kernels *kernels, size_t tokens, double *bytes) {
    enum { ROWS = 5760, COLUMNS = 2880, BLOCKS = COLUMNS / 32, EXPERTS = 8 };
    int8_rows.rows = tokens, int8_rows.blocks = BLOCKS;
    size_t experts = tokens > 8 ? 1 : EXPERTS;
    for (size_t e = 0; e < experts; e++) {
        shoal_mxfp4_matrix w = {
            next_weights((size_t)ROWS * BLOCKS * 16), scales + e * ROWS * BLOCKS, NULL, ROWS, COLUMNS};
        kernels->matmul_mxfp4_q8(&w, &int8_rows, 0, ROWS, results, ROWS);
    }
    *bytes = (double)experts * ROWS * BLOCKS * 17;
    return (double)experts * ROWS * COLUMNS * (double)tokens;
}

static double lm_head_q16(const shoal_kernels *kernels, size_t tokens, double *bytes) {
    enum { ROWS = 201088, COLUMNS = 2880, BLOCKS = COLUMNS / 32 };
    size_t rows = tokens > 8 ? 16384 : ROWS;
    // Any bytes will do for the low plane: the high one's.
    shoal_q16_rows x = {int8_rows.values, int8_rows.values, int8_rows.scales, tokens, BLOCKS};
    shoal_q8_matrix w = {next_weights(rows * BLOCKS * 32), (const uint16_t *)(const void *)scales, NULL, rows, BLOCKS};
    kernels->matmul_q8_q16(&w, &x, 0, rows, results, rows);
    *bytes = (double)rows * BLOCKS * 34;
    return (double)rows * COLUMNS * (double)tokens;
}

static double gate_up_bf16(const shoal_kernels *kernels, size_t tokens, double *bytes) {
    enum { ROWS = 5760, COLUMNS = 2880, BLOCKS = COLUMNS / 32, EXPERTS = 8 };
    bf16_rows.rows = tokens, bf16_rows.blocks = BLOCKS;
    size_t experts = tokens > 8 ? 1 : EXPERTS;
    for (size_t e = 0; e < experts; e++) {
        shoal_mxfp4_matrix w = {
            next_weights((size_t)ROWS * BLOCKS * 16), scales + e * ROWS * BLOCKS, NULL, ROWS, COLUMNS};
        kernels->matmul_mxfp4_bf16(&w, &bf16_rows, 0, ROWS, results, ROWS);
    }
    *bytes = (double)experts * ROWS * BLOCKS * 17;
    return (double)experts * ROWS * COLUMNS * (double)tokens;
}

static double lm_head_bf16(const shoal_kernels *kernels, size_t tokens, double *bytes) {
    enum { ROWS = 100544, COLUMNS = 2880 };  // half of them
    bf16_rows.rows = tokens, bf16_rows.blocks = COLUMNS / 32;
    size_t rows = tokens > 8 ? 16384 : ROWS;
    shoal_bf16_matrix w = {(const uint16_t *)(const void *)next_weights(rows * COLUMNS * 2), NULL, rows, COLUMNS};
    kernels->matmul_bf16_bf16(&w, &bf16_rows, 0, rows, results, rows);
    *bytes = (double)rows * COLUMNS * 2;
    return (double)rows * COLUMNS * (double)tokens;
}

static double gate_up_f32(const shoal_kernels *kernels, size_t tokens, double *bytes) {
    enum { ROWS = 5760, COLUMNS = 2880, BLOCKS = COLUMNS / 32 };
    float_rows.rows = tokens, float_rows.columns = COLUMNS;
    shoal_mxfp4_matrix w = {next_weights((size_t)ROWS * BLOCKS * 16), scales, NULL, ROWS, COLUMNS};
    kernels->matmul_mxfp4_f32(&w, &float_rows, 0, ROWS, results, ROWS);
    *bytes = (double)ROWS * BLOCKS * 17;
    return (double)ROWS * COLUMNS * (double)tokens;
}

static double attention_f32(const shoal_kernels *kernels, size_t tokens, double *bytes) {
    enum { ROWS = 5120, COLUMNS = 2880 };
    float_rows.rows = tokens, float_rows.columns = COLUMNS;
    shoal_bf16_matrix w = {float_weights, NULL, ROWS, COLUMNS};
    kernels->matmul_bf16_f32(&w, &float_rows, 0, ROWS, results, ROWS);
    *bytes = (double)ROWS * COLUMNS * 2;
    return (double)ROWS * COLUMNS * (double)tokens;
}

/// Eight KV heads of eight query heads each, over `keys` keys in pages of 32, which do not lie in order.
static double attend(const shoal_kernels *kernels, shoal_kv_format format, size_t keys, double *bytes) {
    enum { PAGE = 32, DIM = 64, GROUP = 8, HEADS = 8, MAX_KEYS = 4096 };
    static uint32_t pages[MAX_KEYS / PAGE];
    static float scores[GROUP * MAX_KEYS], q[GROUP * DIM], denominators[GROUP];
    static uint16_t sinks[GROUP];
    for (uint32_t i = 0; i < keys / PAGE; i++) pages[i] = i ^ 3;
    for (size_t i = 0; i < GROUP * DIM; i++) q[i] = float_rows.values[i];
    size_t plane = HEADS * PAGE * shoal_kv_row_bytes(format, DIM);
    shoal_kv_pages kv = {(const char *)float_weights, pages, 2 * plane, 0, plane, PAGE, DIM, format};
    for (size_t head = 0; head < HEADS; head++)
        kernels->attention(&kv, head, GROUP, q, sinks, 0.125f, 0, keys - 1, scores, denominators, results);
    *bytes = 2.0 * (double)plane * (double)keys / PAGE;
    return 2.0 * HEADS * GROUP * (double)keys * DIM;
}

static double attend_bf16(const shoal_kernels *kernels, size_t keys, double *bytes) {
    return attend(kernels, SHOAL_KV_BF16, keys, bytes);
}

static double attend_q8(const shoal_kernels *kernels, size_t keys, double *bytes) {
    return attend(kernels, SHOAL_KV_Q8, keys, bytes);
}

static double pack(const shoal_kernels *kernels, size_t tokens, double *bytes) {
    enum { ROWS = 5120, COLUMNS = 2880 };
    (void)kernels, (void)tokens;
    shoal_q8_pack(
        float_weights, ROWS, COLUMNS, 0, ROWS, weights + (size_t)(400 << 20), (uint16_t *)(void *)scales);
    *bytes = (double)ROWS * COLUMNS * 3;
    return (double)ROWS * COLUMNS;
}

static double read_bandwidth(int asks) {
    double start = now();
    volatile uint64_t kept = read_memory(weights, WEIGHT_BYTES, asks);
    (void)kept;
    return WEIGHT_BYTES / (now() - start) / 1e9;
}

int main(int argc, char **argv) {
    double int8_peak = argc > 1 ? 1000 * atof(argv[1]) : 0, bf16_peak = argc > 2 ? 1000 * atof(argv[2]) : 0;
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    if (int8_peak <= 0 || bf16_peak <= 0 || rounds < 1) {
        fprintf(stderr, "usage: kernels INT8_TOPS BF16_TOPS [ROUNDS]\n");
        return 2;
    }
    weights = allocate(WEIGHT_BYTES);
    scales = allocate((size_t)MAX_ROWS * MAX_COLUMNS / 32 * 2);
    float_weights = allocate((size_t)5120 * MAX_COLUMNS * 2);
    results = allocate(sizeof(float) * 16384 * MAX_TOKENS);
    int8_t *values = allocate((size_t)MAX_TOKENS * MAX_COLUMNS);
    uint16_t *int8_scales = allocate((size_t)MAX_TOKENS * MAX_COLUMNS / 32 * 2);
    float *floats = allocate((size_t)MAX_TOKENS * MAX_COLUMNS * 4);
    uint64_t state = 1;
    for (size_t i = 0; i < WEIGHT_BYTES; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t word = state ^ state >> 29;
        memcpy(weights + i, &word, sizeof word);
    }
    for (size_t i = 0; i < (size_t)MAX_ROWS * MAX_COLUMNS / 32 * 2; i++) scales[i] = 0x3f;
    for (size_t i = 0; i < (size_t)5120 * MAX_COLUMNS; i++) float_weights[i] = (uint16_t)(0x3c00 + weights[i]);
    for (size_t i = 0; i < (size_t)MAX_TOKENS * MAX_COLUMNS; i++) floats[i] = (float)weights[i] - 127.5f;
    for (size_t t = 0; t < MAX_TOKENS; t++)
        shoal_kernels_for(SHOAL_ISA_SCALAR)
            ->quantize_q8(
                floats + t * MAX_COLUMNS, MAX_COLUMNS, values + t * MAX_COLUMNS, int8_scales + t * MAX_COLUMNS / 32);
    uint16_t *halves = allocate((size_t)MAX_TOKENS * MAX_COLUMNS * 2);
    shoal_kernels_for(SHOAL_ISA_SCALAR)->quantize_bf16(floats, (size_t)MAX_TOKENS * MAX_COLUMNS, halves);
    bf16_rows.values = halves;
    int8_rows.values = values, int8_rows.scales = int8_scales, float_rows.values = floats;

    const benchmark benchmarks[] = {
        {"MXFP4 x int8  5760 x 2880, T=1", gate_up_q8, 1},     {"MXFP4 x int8  5760 x 2880, T=2", gate_up_q8, 2},
        {"MXFP4 x int8  5760 x 2880, T=3", gate_up_q8, 3},     {"MXFP4 x int8  5760 x 2880, T=4", gate_up_q8, 4},
        {"MXFP4 x int8  5760 x 2880, T=8", gate_up_q8, 8},     {"MXFP4 x int8  5760 x 2880, T=16", gate_up_q8, 16},
        {"MXFP4 x int8  5760 x 2880, T=32", gate_up_q8, 32},   {"MXFP4 x int8  5760 x 2880, T=64", gate_up_q8, 64},
        {"MXFP4 x int8  5760 x 2880, T=128", gate_up_q8, 128}, {"int8 x int16  201088 x 2880, T=1", lm_head_q16, 1},
        {"int8 x int16  201088 x 2880, T=8", lm_head_q16, 8},  {"int8 x int16  16384 x 2880, T=128", lm_head_q16, 128},
        {"MXFP4 x bf16  5760 x 2880, T=1", gate_up_bf16, 1},   {"MXFP4 x bf16  5760 x 2880, T=2", gate_up_bf16, 2},
        {"MXFP4 x bf16  5760 x 2880, T=4", gate_up_bf16, 4},   {"MXFP4 x bf16  5760 x 2880, T=8", gate_up_bf16, 8},
        {"MXFP4 x bf16  5760 x 2880, T=16", gate_up_bf16, 16}, {"MXFP4 x bf16  5760 x 2880, T=32", gate_up_bf16, 32},
        {"MXFP4 x bf16  5760 x 2880, T=64", gate_up_bf16, 64}, {"MXFP4 x bf16  5760 x 2880, T=128", gate_up_bf16, 128},
        {"bf16 x bf16  100544 x 2880, T=1", lm_head_bf16, 1},  {"bf16 x bf16  100544 x 2880, T=8", lm_head_bf16, 8},
        {"bf16 x bf16  16384 x 2880, T=128", lm_head_bf16, 128},
        {"MXFP4 x f32  5760 x 2880, T=1", gate_up_f32, 1},     {"MXFP4 x f32  5760 x 2880, T=16", gate_up_f32, 16},
        {"bf16 x f32  5120 x 2880, T=1", attention_f32, 1},    {"bf16 x f32  5120 x 2880, T=16", attention_f32, 16},
        {"attention, 128 keys, bf16", attend_bf16, 128},       {"attention, 4096 keys, bf16", attend_bf16, 4096},
        {"attention, 128 keys, int8", attend_q8, 128},         {"attention, 4096 keys, int8", attend_q8, 4096},
        {"q8_pack  5120 x 2880 (best variant)", pack, 1},
    };
    printf("%-38s %-10s %10s %10s %9s %9s\n", "", "variant", "GB/s", "GOP/s", "of read", "of peak");
    printf("%-38s %-10s %10s %10.0f\n", "int8 dot products", "", "", int8_peak);
    printf("%-38s %-10s %10s %10.0f\n", "bf16 dot products", "", "", bf16_peak);
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++) {
        double fastest[SHOAL_ISA_COUNT] = {0}, operations[SHOAL_ISA_COUNT] = {0}, reading = 0;
        int is_bf16 = benchmarks[i].run == gate_up_bf16 || benchmarks[i].run == lm_head_bf16;
        int is_pack = benchmarks[i].run == pack;
        int is_int8 = benchmarks[i].run == gate_up_q8 || benchmarks[i].run == lm_head_q16;
        int has_own_of_bf16 = is_bf16 || is_pack || benchmarks[i].run == gate_up_q8;
        for (int round = 0; round < rounds; round++) {
            double bandwidth = read_bandwidth(round % 2);
            if (bandwidth > reading) reading = bandwidth;
            at = 0;
            for (int isa = is_pack ? (int)shoal_kernels_named(NULL)->isa : 1; isa < SHOAL_ISA_COUNT; isa++) {
                const shoal_kernels *kernels = shoal_kernels_for((shoal_isa)isa);
                // Those variants' other kernels are plain AVX2's, or AVX-512's.
                if (!kernels || (isa == SHOAL_ISA_AVX_VNNI && !is_int8 && !is_pack)) continue;
                if (isa == SHOAL_ISA_AVX512_BF16 && !has_own_of_bf16) continue;
                double bytes, start = now(), work = benchmarks[i].run(kernels, benchmarks[i].tokens, &bytes);
                double seconds = now() - start;
                if (bytes / seconds / 1e9 > fastest[isa]) {
                    fastest[isa] = bytes / seconds / 1e9;
                    operations[isa] = 2 * work / seconds / 1e9;
                }
            }
        }
        for (int isa = 1; isa < SHOAL_ISA_COUNT; isa++)
            if (fastest[isa] > 0)
                printf(
                    "%-38s %-10s %10.1f %10.0f %8.0f%% %8.0f%%\n", benchmarks[i].name,
                    shoal_kernels_for((shoal_isa)isa)->name, fastest[isa], operations[isa],
                    100 * fastest[isa] / reading, 100 * operations[isa] / (is_bf16 ? bf16_peak : int8_peak));
        if (i == 0) printf("%-38s %-10s %10.1f\n", "reading memory", "", reading);
    }
    return 0;
}
