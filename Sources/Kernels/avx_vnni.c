// AVX2 with AVX-VNNI, which many processors without AVX-512 have: the int8 products. All else is plain AVX2's.
#if defined(__x86_64__)
#include "kernels_internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,prfchw,avxvnni"))), apply_to = function)

#define VNNI

#include "avx2_int8.h"

#pragma clang attribute pop

SHOAL_PRODUCT(shoal_avx_vnni_matmul_mxfp4_q8, shoal_mxfp4_matrix, shoal_q8_rows) {
    matmul_mxfp4_q8(w, x, row_begin, row_end, y, y_stride);
}
SHOAL_PRODUCT(shoal_avx_vnni_matmul_q8_q8, shoal_q8_matrix, shoal_q8_rows) {
    matmul_q8_q8(w, x, row_begin, row_end, y, y_stride);
}
SHOAL_PRODUCT(shoal_avx_vnni_matmul_q8_q16, shoal_q8_matrix, shoal_q16_rows) {
    matmul_q8_q16(w, x, row_begin, row_end, y, y_stride);
}
#endif
