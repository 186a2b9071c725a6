// AVX2 with AVX-VNNI, which many processors without AVX-512 have: the int8 products. All else is plain AVX2's.
#if defined(__x86_64__)
#include "kernels_internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,prfchw,avxvnni"))), apply_to = function)

#define VNNI

#include "avx2_int8.h"

#pragma clang attribute pop

void shoal_avx_vnni_matmul_mxfp4_q8(
    const shoal_mxfp4_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y,
    size_t y_stride) {
    matmul_mxfp4_q8(w, x, row_begin, row_end, y, y_stride);
}

void shoal_avx_vnni_matmul_q8_q8(
    const shoal_q8_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    matmul_q8_q8(w, x, row_begin, row_end, y, y_stride);
}

void shoal_avx_vnni_matmul_q8_q16(
    const shoal_q8_matrix *w, const shoal_q16_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride) {
    matmul_q8_q16(w, x, row_begin, row_end, y, y_stride);
}
#endif
