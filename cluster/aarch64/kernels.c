// Compares every kernel of the fastest variant with the scalar one, bit for bit, on random shapes and values.
//     kernels [VARIANT]    VARIANT, if named, must be the one chosen by default
// prints "passed NAME" or "failed NAME: WHY" for each kernel, and last a digest of all scalar results, which must be
// the same on every architecture. What Tests/KernelsTests does for this machine, this does for one that is emulated.
#include "attention_test.h"
#include "elementwise_test.h"
#include "matmul_test.h"

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"quantize_q8, quantize_q16 and quantize_bf16", test_quantize},
    {"rms_norm", test_rms_norm},
    {"rope", test_rope},
    {"swiglu", test_swiglu},
    {"combine_f32 and combine_bf16", test_combine},
    {"f32_to_bf16 and bf16_to_f32", test_bfloat16},
    {"max_and_sum_exp", test_max_and_sum_exp},
    {"exp_weights", test_exp_weights},
    {"keep_weights", test_keep_weights},
    {"dequantize_mxfp4", test_dequantize},
    {"matmul_mxfp4_q8, matmul_mxfp4_bf16 and matmul_mxfp4_f32", test_mxfp4},
    {"matmul_q8_q8 and matmul_q8_q16", test_q8},
    {"matmul_bf16_bf16 and matmul_bf16_f32", test_bf16},
    {"attention", test_attention},
};

int main(int argc, char **argv) {
    variant = shoal_kernels_named(NULL);
    scalar = shoal_kernels_for(SHOAL_ISA_SCALAR);
    int failures = argc > 1 && strcmp(variant->name, argv[1]) != 0;
    if (failures)
        printf("failed choosing %s: found %s\n", argv[1], variant->name);
    else
        printf("passed choosing %s\n", variant->name);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        random_state = i;
        *failure = 0;
        tests[i].run();
        release();
        if (*failure)
            printf("failed %s: %s\n", tests[i].name, failure);
        else
            printf("passed %s\n", tests[i].name);
        fflush(stdout);
        failures += *failure != 0;
    }
    printf("digest %016llx\n", (unsigned long long)digest);
    return failures != 0;
}
