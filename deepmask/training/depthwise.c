/* Depthwise convolutions of bfloat16 maps on a CPU, forward and backward; depthwise.py calls this.

   Maps are channels-last, (B, H, W, C); weights float32, (K * K, C). A block of 16 channels is one
   vector register: it is copied into float32 with a border of zeros, and then each place is K * K
   multiplications by weights that stay in registers. Blocks from `first` to `last` are computed, so
   that threads can share a map. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t half __attribute__((vector_size(2 * LANES)));

typedef struct {
    int batch, height, width, channels, kernel, stride;
} Shape;

static vec load(const uint16_t *from) {
    half h;
    memcpy(&h, from, sizeof h);
    return (vec)(__builtin_convertvector(h, bits) << 16);
}

static void store(uint16_t *to, vec v) { /* rounds to nearest, ties to even */
    bits b = (bits)v;
    half h = __builtin_convertvector((b + 0x7FFF + ((b >> 16) & 1)) >> 16, half);
    memcpy(to, &h, sizeof h);
}

/* A map's block with `pad` zeros around it and `step` - 1 between its pixels. */
static void spread(vec *to, int rows, int columns, const uint16_t *from, int height, int width,
                   int channels, int pad, int step) {
    memset(to, 0, sizeof(vec) * rows * columns);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            to[(step * y + pad) * columns + step * x + pad] =
                load(from + ((size_t)y * width + x) * channels);
}

INLINE void correlate(const vec *in, int columns, const vec *weight, uint16_t *out, int height,
                      int width, int channels, int K, int S) {
    vec w[25];
    memcpy(w, weight, sizeof(vec) * K * K);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const vec *at = in + S * (y * columns + x);
            vec even = {0}, odd = {0};
#pragma GCC unroll 5
            for (int i = 0; i < K; i++)
#pragma GCC unroll 5
                for (int j = 0; j < K; j++)
                    if ((i * K + j) % 2) odd += at[i * columns + j] * w[i * K + j];
                    else even += at[i * columns + j] * w[i * K + j];
            store(out + ((size_t)y * width + x) * channels, even + odd);
        }
}

/* Adds to `sums` what each weight has seen; `grad` is spread like `in`, `height` x `width` of it. */
INLINE void accumulate(const vec *in, const vec *grad, int columns, vec *sums, int height,
                       int width, int K, int S) {
    vec s[25];
    memcpy(s, sums, sizeof(vec) * K * K);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const vec *at = in + S * (y * columns + x);
            vec g = grad[S * (y * columns + x)];
#pragma GCC unroll 5
            for (int i = 0; i < K; i++)
#pragma GCC unroll 5
                for (int j = 0; j < K; j++) s[i * K + j] += at[i * columns + j] * g;
        }
    memcpy(sums, s, sizeof(vec) * K * K);
}

INLINE void forward_of(const Shape *n, const uint16_t *x, const float *weight, uint16_t *out,
                       int first, int last, int K, int S) {
    int pad = K / 2, rows = n->height + 2 * pad, columns = n->width + 2 * pad;
    int height = (n->height - 1) / S + 1, width = (n->width - 1) / S + 1, C = n->channels;
    vec *in = aligned_alloc(sizeof(vec), sizeof(vec) * rows * columns), w[25];
    for (int block = first; block < last; block++) {
        int c = block * LANES;
        for (int k = 0; k < K * K; k++) memcpy(&w[k], weight + k * C + c, sizeof(vec));
        for (int b = 0; b < n->batch; b++) {
            spread(in, rows, columns, x + (size_t)b * n->height * n->width * C + c, n->height,
                   n->width, C, pad, 1);
            correlate(in, columns, w, out + (size_t)b * height * width * C + c, height, width, C,
                      K, S);
        }
    }
    free(in);
}

INLINE void backward_of(const Shape *n, const uint16_t *x, const float *weight,
                        const uint16_t *grad, uint16_t *grad_x, float *grad_weight, int first,
                        int last, int K, int S) {
    int pad = K / 2, rows = n->height + 2 * pad, columns = n->width + 2 * pad;
    int height = (n->height - 1) / S + 1, width = (n->width - 1) / S + 1, C = n->channels;
    size_t count = (size_t)rows * columns;
    vec *in = aligned_alloc(sizeof(vec), 2 * sizeof(vec) * count), *g = in + count;
    vec turned[25], sums[25];
    for (int block = first; block < last; block++) {
        int c = block * LANES;
        for (int k = 0; k < K * K; k++)
            memcpy(&turned[K * K - 1 - k], weight + k * C + c, sizeof(vec));
        memset(sums, 0, sizeof sums);
        for (int b = 0; b < n->batch; b++) {
            size_t at = (size_t)b * n->height * n->width * C + c;
            spread(in, rows, columns, x + at, n->height, n->width, C, pad, 1);
            spread(g, rows, columns, grad + (size_t)b * height * width * C + c, height, width, C,
                   pad, S);
            accumulate(in, g + pad * (columns + 1), columns, sums, height, width, K, S);
            correlate(g, columns, turned, grad_x + at, n->height, n->width, C, K, 1);
        }
        for (int k = 0; k < K * K; k++) memcpy(grad_weight + k * C + c, &sums[k], sizeof(vec));
    }
    free(in);
}

/* The compiler makes one of each for every kernel and stride. */
#define EACH(DO)                                                                                  \
    if (n->kernel == 5 && n->stride == 1) DO(5, 1);                                               \
    else if (n->kernel == 5) DO(5, 2);                                                            \
    else if (n->stride == 1) DO(3, 1);                                                            \
    else DO(3, 2);

void forward(const Shape *n, const uint16_t *x, const float *weight, uint16_t *out, int first,
             int last) {
#define FORWARD(K, S) forward_of(n, x, weight, out, first, last, K, S)
    EACH(FORWARD)
}

void backward(const Shape *n, const uint16_t *x, const float *weight, const uint16_t *grad,
              uint16_t *grad_x, float *grad_weight, int first, int last) {
#define BACKWARD(K, S) backward_of(n, x, weight, grad, grad_x, grad_weight, first, last, K, S)
    EACH(BACKWARD)
}
