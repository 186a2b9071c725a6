// Does the work of one kernel, in the function `measured`, whose instructions callgrind counts. Called with the name of
// a piece of work; SHOAL_ISA chooses the kernels.
#include "Kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, COLUMNS = 2880, BLOCKS = COLUMNS / 32, MOST_TOKENS = 64, PAGE = 32, KEYS = 256, DIM = 64, GROUP = 8 };

static _Alignas(64) uint8_t weights[ROWS * COLUMNS];
static _Alignas(64) uint16_t scales[ROWS * BLOCKS];
static _Alignas(64) int8_t values[MOST_TOKENS * COLUMNS];
static _Alignas(64) uint16_t row_scales[MOST_TOKENS * BLOCKS];
static _Alignas(64) uint16_t dense[ROWS * COLUMNS], halves[MOST_TOKENS * COLUMNS];
static _Alignas(64) float results[MOST_TOKENS * ROWS];
static _Alignas(64) char pool[KEYS / PAGE * 2 * PAGE * DIM * 2];
static float queries[GROUP * DIM], scores[GROUP * KEYS], denominators[GROUP];
static uint16_t sinks[GROUP];
static uint32_t pages[KEYS / PAGE];

__attribute__((noinline)) void measured(const shoal_kernels *kernels, const char *work, size_t tokens) {
    shoal_mxfp4_matrix mxfp4 = {weights, (const uint8_t *)scales, NULL, ROWS, COLUMNS};
    shoal_bf16_matrix bf16 = {dense, NULL, ROWS, COLUMNS};
    shoal_q8_matrix q8 = {weights, scales, NULL, ROWS, BLOCKS};
    shoal_q8_rows rows = {values, row_scales, tokens, BLOCKS};
    shoal_q16_rows wide_rows = {values, values, row_scales, tokens, BLOCKS};
    shoal_bf16_rows bf16_rows = {halves, tokens, BLOCKS};
    shoal_kv_pages kv = {pool, pages, sizeof pool / (KEYS / PAGE), 0, PAGE * DIM * 2, PAGE, DIM, SHOAL_KV_BF16};
    if (strcmp(work, "mxfp4") == 0) kernels->matmul_mxfp4_q8(&mxfp4, &rows, 0, ROWS, results, ROWS);
    if (strcmp(work, "mxfp4_bf16") == 0) kernels->matmul_mxfp4_bf16(&mxfp4, &bf16_rows, 0, ROWS, results, ROWS);
    if (strcmp(work, "bf16") == 0) kernels->matmul_bf16_bf16(&bf16, &bf16_rows, 0, ROWS, results, ROWS);
    if (strcmp(work, "q8") == 0) kernels->matmul_q8_q8(&q8, &rows, 0, ROWS, results, ROWS);
    if (strcmp(work, "q16") == 0) kernels->matmul_q8_q16(&q8, &wide_rows, 0, ROWS, results, ROWS);
    if (strcmp(work, "attention") == 0)
        for (size_t t = 0; t < tokens; t++)
            kernels->attention(
                &kv, 0, GROUP, queries, sinks, 0.125f, 0, KEYS - 1, scores, denominators, results + t * GROUP * DIM);
}

int main(int argc, char **argv) {
    const shoal_kernels *kernels = shoal_kernels_selected();
    size_t tokens = argc == 3 ? (size_t)atoi(argv[2]) : 0;
    if (!kernels || tokens < 1 || tokens > MOST_TOKENS) {
        fprintf(stderr, "usage: kernel_work mxfp4|mxfp4_bf16|bf16|q8|q16|attention TOKENS, with a SHOAL_ISA of this processor\n");
        return 2;
    }
    for (uint32_t i = 0; i < KEYS / PAGE; i++) pages[i] = i;
    for (size_t i = 0; i < ROWS * BLOCKS; i++) scales[i] = 0x7f7f;
    for (size_t i = 0; i < MOST_TOKENS * BLOCKS; i++) row_scales[i] = 0x3c00;
    measured(kernels, argv[1], tokens);
    return 0;
}
