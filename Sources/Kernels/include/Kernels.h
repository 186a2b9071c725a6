// The inner loops, and the arithmetic they all share.
//
// One arithmetic. `scalar.c` defines every function below to the bit; each variant for an instruction set must give
// equal bytes. The rules that make this possible:
//   - int8 products: per block of 32 columns one exact integer dot product, then one fused multiply-add into a float32
//     accumulator, blocks in ascending order.
//   - float32 sums: SIXTEEN INTERLEAVED PARTIAL SUMS (element k goes to partial k mod 16, by fused multiply-add, in
//     ascending order), then one reduction tree: p[j] += p[j + 8], then 4, 2, 1.
//   - bfloat16 products: the same with pairs. Sixteen partial sums, and columns 2 j and 2 j + 1 of every thirty-two go to
//     partial j, first the odd one and then the even one, by fused multiply-add; then the same tree. That is what
//     AVX-512's dot products of bfloat16 do, but for numbers below 2^-126, which they take for zero. There are none:
//     factors below 2^-56 count as zero, so that every sum is a multiple of 2^-126.
//   - bias is added last, by one float32 addition.
//   - `exp` is the polynomial in scalar.c, never libm's.
// So the result of a row depends neither on the rows beside it nor on the number of threads. One NaN is as good as
// another: where a result is not a number, its bits are not defined.
//
// Functions are total for the sizes they document, never allocate (a product takes some 500 KiB of stack), and never
// check pointers: Swift owns lifetimes and validates sizes. Unless said otherwise, matrices are row-major and dense.
#ifndef SHOAL_KERNELS_H
#define SHOAL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/// Columns in one quantisation block: MXFP4 (OCP Microscaling 1.0) and our int8 blocks alike.
#define SHOAL_BLOCK 32
/// Weight rows that a kernel handles together. A range of rows handed to a kernel begins at a multiple of this.
#define SHOAL_TILE_ROWS 16

/// Activation rows quantised to int8 in blocks of 32 columns; the last block of a row is padded with zeros.
typedef struct {
    const int8_t *values;    // [rows][blocks * 32], within -127...127
    const uint16_t *scales;  // [rows][blocks], bfloat16
    size_t rows;
    size_t blocks;
} shoal_q8_rows;

/// Activation rows quantised to 16 bits in blocks of 32 columns, in two planes of 8 bits: value = high * 255 + low.
/// (With 255, not 256, both planes stay within ±127, so that one inner loop serves all planes.) For matrices held in
/// int8, whose activations need no wire: twice the products of int8 rows, 1/256 of their error.
typedef struct {
    const int8_t *high;      // [rows][blocks * 32], within -127...127
    const int8_t *low;       // [rows][blocks * 32], within -127...127
    const uint16_t *scales;  // [rows][blocks], bfloat16
    size_t rows;
    size_t blocks;
} shoal_q16_rows;

/// Activation rows in bfloat16, padded with zeros to whole blocks of columns; none is between 0 and ±2^-56.
typedef struct {
    const uint16_t *values;  // [rows][blocks * 32]
    size_t rows;
    size_t blocks;
} shoal_bf16_rows;

/// Activation rows in float32.
typedef struct {
    const float *values;  // [rows][columns]
    size_t rows;
    size_t columns;
} shoal_f32_rows;

/// A weight matrix in MXFP4, in the checkpoint's own layout (so that it can stay in the page cache).
typedef struct {
    const uint8_t *blocks;           // [rows][columns / 32][16]: two E2M1 codes a byte, the low nibble first
    const uint8_t *scales;           // [rows][columns / 32], E8M0: value = code * 2^(scale - 127)
    const uint16_t *_Nullable bias;  // [rows], bfloat16
    size_t rows;
    size_t columns;  // a positive multiple of 32
} shoal_mxfp4_matrix;

/// A weight matrix in int8 blocks of 32 columns, rows interleaved in tiles of 16, the way the inner loop reads it.
/// Rows beyond `rows` in the last tile, and columns beyond the last, are zero.
typedef struct {
    const uint8_t *values;           // [ceil(rows / 16)][blocks][8][16][4]: column block*32 + i*4 + j of row
                                     // tile*16 + r at [tile][block][i][r][j], stored as value + 128
    const uint16_t *scales;          // [ceil(rows / 16)][blocks][16], bfloat16
    const uint16_t *_Nullable bias;  // [rows], bfloat16
    size_t rows;
    size_t blocks;  // ceil(columns / 32)
} shoal_q8_matrix;

/// A weight matrix in bfloat16.
typedef struct {
    const uint16_t *values;          // [rows][columns]
    const uint16_t *_Nullable bias;  // [rows], bfloat16
    size_t rows;
    size_t columns;
} shoal_bf16_matrix;

/// How the elements of keys and values are held.
typedef enum {
    SHOAL_KV_F32 = 0,
    SHOAL_KV_BF16 = 1,
    SHOAL_KV_Q8 = 2,  // int8 blocks of 32 elements, as quantize_q8 makes them
} shoal_kv_format;

/// The keys and values of one sequence in one layer, in pages of `page_tokens` positions.
///
/// In a page values are [kv_heads][page_tokens][row]: a row is [head_dim] elements, or [blocks * 32] int8 values and
/// then their [blocks] bfloat16 scales, blocks = ceil(head_dim / 32). Keys are the same turned over, so that sixteen
/// scores are computed at once: [kv_heads][head_dim][page_tokens] elements, or of each head [blocks * 32][page_tokens]
/// int8 values and then [blocks][page_tokens] scales.
typedef struct {
    const char *pool;       // page 0; aligned for the elements, as are page_bytes, keys and values
    const uint32_t *pages;  // the page of each page_tokens positions, in order; only those with a key to read are read
    size_t page_bytes;      // from one page to the next
    size_t keys, values;    // where this layer's keys, and its values, begin in a page
    size_t page_tokens;     // a multiple of 16
    size_t head_dim;
    shoal_kv_format format;
} shoal_kv_pages;

/// Bytes of one position's key, or value, in one head.
static inline size_t shoal_kv_row_bytes(shoal_kv_format format, size_t head_dim) {
    if (format == SHOAL_KV_Q8) return (head_dim + SHOAL_BLOCK - 1) / SHOAL_BLOCK * (SHOAL_BLOCK + sizeof(uint16_t));
    return head_dim * (format == SHOAL_KV_BF16 ? sizeof(uint16_t) : sizeof(float));
}

/// Where a head's keys, or values, begin in the page that holds a position, in bytes from `pool`; `plane` is `keys` or
/// `values`.
static inline size_t shoal_kv_head_offset(
    const shoal_kv_pages *kv, size_t plane, size_t kv_head, size_t position) {
    return kv->pages[position / kv->page_tokens] * kv->page_bytes + plane +
           kv_head * kv->page_tokens * shoal_kv_row_bytes(kv->format, kv->head_dim);
}

typedef enum {
    SHOAL_ISA_SCALAR = 0,
    SHOAL_ISA_AVX2 = 1,         // AVX2, FMA
    SHOAL_ISA_AVX_VNNI = 2,     // the same, and AVX-VNNI
    SHOAL_ISA_AVX512_VNNI = 3,  // AVX-512 F, BW, VL, DQ, VNNI
    SHOAL_ISA_NEON = 4,         // NEON with dot products, of Armv8.2
    SHOAL_ISA_AVX512_BF16 = 5,  // the same as AVX512_VNNI, and VBMI and BF16
} shoal_isa;
#define SHOAL_ISA_COUNT 6

/// One implementation of every kernel. All of them are single-threaded; `thread_pool` splits the row ranges.
typedef struct {
    shoal_isa isa;
    const char *name;

    /// Quantises one row of `columns` floats into ceil(columns/32) int8 blocks.
    /// scale = bfloat16, rounded up, of max|x| / 127; value = round-half-even(x * (1 / scale)).
    /// A block whose maximum is below 2^-100 becomes zero with scale 0; one with a NaN or infinity becomes zero with
    /// scale NaN, so that what is not a number stays visible.
    void (*quantize_q8)(const float *x, size_t columns, int8_t *values, uint16_t *scales);

    /// The same in 16 bits: scale = bfloat16, rounded up, of max|x| / 32512; value = round-half-even(x * (1 / scale)),
    /// high = round(value / 255), low = value - high * 255.
    void (*quantize_q16)(const float *x, size_t columns, int8_t *high, int8_t *low, uint16_t *scales);

    /// Rounds one row of `columns` floats to bfloat16 (to nearest even; NaN stays NaN), pads it with zeros to whole blocks
    /// of 32, and makes zero of what is below 2^-56 then.
    void (*quantize_bf16)(const float *x, size_t columns, uint16_t *out);

    /// y[t * y_stride + n] = Σ_k x[t][k] w[n][k] + bias[n] for every row t of x and n in [row_begin, row_end).
    /// Ranges of 64 rows and more are fastest: each call prepares the activations anew, and prefetches no range but its
    /// own.
    /// int8 activations: acc = fma((float)dot, scale_x * scale_w, acc) per block.
    /// MXFP4 weights enter the dot doubled, as integers, with scale_w = 2^(scale - 128), where scales above 232
    /// (2^105: no model has them) count as 232, and acc = fma((float)dot * scale_w, scale_x, acc).
    void (*matmul_mxfp4_q8)(
        const shoal_mxfp4_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y,
        size_t y_stride);
    void (*matmul_q8_q8)(
        const shoal_q8_matrix *w, const shoal_q8_rows *x, size_t row_begin, size_t row_end, float *y, size_t y_stride);
    /// 16-bit activations: the block's integer is 255 * dot(high) + dot(low), exact, rounded once to float.
    void (*matmul_q8_q16)(
        const shoal_q8_matrix *w, const shoal_q16_rows *x, size_t row_begin, size_t row_end, float *y,
        size_t y_stride);
    /// bfloat16 activations: sixteen partial sums of pairs. Weights of a magnitude below 2^-56 count as zero; of MXFP4,
    /// blocks whose scale is below 72, which is 2^-55, and scales above 232 count as 232.
    void (*matmul_mxfp4_bf16)(
        const shoal_mxfp4_matrix *w, const shoal_bf16_rows *x, size_t row_begin, size_t row_end, float *y,
        size_t y_stride);
    void (*matmul_bf16_bf16)(
        const shoal_bf16_matrix *w, const shoal_bf16_rows *x, size_t row_begin, size_t row_end, float *y,
        size_t y_stride);
    /// float32 activations: sixteen interleaved partial sums.
    void (*matmul_mxfp4_f32)(
        const shoal_mxfp4_matrix *w, const shoal_f32_rows *x, size_t row_begin, size_t row_end, float *y,
        size_t y_stride);
    void (*matmul_bf16_f32)(
        const shoal_bf16_matrix *w, const shoal_f32_rows *x, size_t row_begin, size_t row_end, float *y,
        size_t y_stride);

    /// out = (x * (1 / sqrt(mean(x²) + epsilon))) * weight, over `columns` elements; weight is bfloat16.
    void (*rms_norm)(const float *x, const uint16_t *weight, float epsilon, size_t columns, float *out);

    /// Rotates pairs (i, i + head_dim/2) of each head in place; cosines and sines are [head_dim/2].
    /// first' = fma(-second, sin, first * cos), second' = fma(first, sin, second * cos).
    void (*rope)(float *heads, size_t head_count, size_t head_dim, const float *cosines, const float *sines);

    /// Attention of one query position for the `group` query heads that share KV head `kv_head`, over the keys at
    /// positions first...last (inclusive, first <= last). score = dot(q, k) * scale (dot in sixteen partial sums);
    /// the head's sink joins the maximum and the denominator only. Numerators p = exp(score - max); the denominator is
    /// the sum of p in sixteen partial sums indexed by (position - first) mod 16, reduced, plus exp(sink - max);
    /// out[d] = (Σ p v[d], one fused multiply-add a key, ascending) / denominator. Values enter as float32, which
    /// holds bfloat16, and the product of an int8 value and its scale, exactly. Positions of the last page beyond `last`
    /// may be read, but what is there has no effect.
    ///   q, out: [group][head_dim]; sinks: [group], bfloat16; scores: scratch [group][last - first + 1], which holds
    ///   the numerators p afterwards; denominators: [group], written.
    void (*attention)(
        const shoal_kv_pages *kv, size_t kv_head, size_t group, const float *q, const uint16_t *sinks, float scale,
        size_t first, size_t last, float *scores, float *denominators, float *out);

    /// SwiGLU of gpt-oss: even elements of gate_up are gates, odd ones up.
    /// g = min(gate, limit), u = clamp(up, ±limit), out = (g / (1 + exp(-alpha * g))) * (u + 1). NaN stays NaN.
    void (*swiglu)(const float *gate_up, size_t columns, float limit, float alpha, float *out);

    /// out[i] = residual[i] + Σ_k weights[k] * rows[k * columns + i], by fused multiply-add in ascending k from 0.
    void (*combine_f32)(
        const float *residual, const float *rows, const float *weights, size_t count, size_t columns, float *out);
    /// The same for rows in bfloat16.
    void (*combine_bf16)(
        const float *residual, const uint16_t *rows, const float *weights, size_t count, size_t columns, float *out);

    /// Round to nearest even; NaN stays a (quiet) NaN.
    void (*f32_to_bf16)(const float *x, size_t count, uint16_t *out);
    void (*bf16_to_f32)(const uint16_t *x, size_t count, float *out);

    /// max(x) (+0 if it is a zero), and Σ exp(x - max) in sixteen partial sums. count >= 1.
    void (*max_and_sum_exp)(const float *x, size_t count, float *max, float *sum);

    /// out[i] = exp((x[i] - max) / temperature), and their sum in sixteen partial sums. temperature > 0.
    void (*exp_weights)(const float *x, size_t count, float max, float temperature, float *out, float *sum);

    /// weights[i] = x[i] >= least && weights[i] >= floor ? weights[i] : 0, and their sum in sixteen partial sums.
    void (*keep_weights)(
        const float *x, size_t count, float least, float floor, float *weights, float *sum);

    /// Decodes `count` MXFP4 blocks (16 bytes and one scale each) to float32; bit-exact with transformers'
    /// convert_moe_packed_tensors. Scale 255 counts as 2^128.
    void (*dequantize_mxfp4)(const uint8_t *blocks, const uint8_t *scales, size_t count, float *out);
} shoal_kernels;

/// The kernels of one instruction set, or NULL where this processor (or this build) lacks it.
const shoal_kernels *_Nullable shoal_kernels_for(shoal_isa isa);

/// The kernels called `name` (scalar, avx2, avxvnni, avx512, avx512bf16, neon), or the fastest for this processor if it is NULL or
/// empty. NULL for a name that is unknown, or unsupported here.
const shoal_kernels *_Nullable shoal_kernels_named(const char *_Nullable name);

/// The kernels that the environment variable SHOAL_ISA names, in the sense of `shoal_kernels_named`.
const shoal_kernels *_Nullable shoal_kernels_selected(void);

/// The reference `exp`: relative error below 2e-7; 0 below -87.3, infinity above 88.7; NaN stays NaN.
float shoal_exp(float x);

/// Quantises rows [row_begin, row_end) of a bfloat16 matrix [rows][columns] into `values` and `scales` of a
/// shoal_q8_matrix. row_begin is a multiple of 16; row_end too, or it is `rows`.
void shoal_q8_pack(
    const uint16_t *matrix, size_t rows, size_t columns, size_t row_begin, size_t row_end, uint8_t *values,
    uint16_t *scales);

/// Stores the key and the value, [head_dim] each, of one position in one head. `pool` is kv->pool, to be written.
void shoal_kv_store(
    const shoal_kv_pages *kv, char *pool, size_t kv_head, size_t position, const float *key, const float *value);

/// Bytes that `values` and `scales` of a shoal_q8_matrix occupy.
static inline size_t shoal_q8_values_size(size_t rows, size_t columns) {
    return (rows + SHOAL_TILE_ROWS - 1) / SHOAL_TILE_ROWS * ((columns + SHOAL_BLOCK - 1) / SHOAL_BLOCK) *
           SHOAL_TILE_ROWS * SHOAL_BLOCK;
}
static inline size_t shoal_q8_scales_size(size_t rows, size_t columns) {
    return (rows + SHOAL_TILE_ROWS - 1) / SHOAL_TILE_ROWS * ((columns + SHOAL_BLOCK - 1) / SHOAL_BLOCK) *
           SHOAL_TILE_ROWS * sizeof(uint16_t);
}

/// A fixed set of threads that run the indices of one loop at a time. The caller's thread takes part.
typedef struct shoal_thread_pool shoal_thread_pool;

/// `threads` >= 1 counts the caller. NULL when threads or memory cannot be had.
shoal_thread_pool *_Nullable shoal_thread_pool_create(unsigned threads);

/// Calls work(context, index) once for every index in [0, count), on any of the threads, and returns when all calls
/// have returned. Not reentrant; one caller at a time. Allocates nothing.
void shoal_thread_pool_run(
    shoal_thread_pool *pool, size_t count, void (*work)(void *_Nullable context, size_t index),
    void *_Nullable context);

/// Binds every thread, the caller of the next loop included, to a processor of its own from that loop on. Nothing happens
/// where the system does not allow it. Worth it only where nothing else computes on the machine.
void shoal_thread_pool_pin(shoal_thread_pool *pool);

unsigned shoal_thread_pool_threads(const shoal_thread_pool *pool);

/// Ends and joins the threads.
void shoal_thread_pool_destroy(shoal_thread_pool *pool);

#pragma clang assume_nonnull end
#endif
