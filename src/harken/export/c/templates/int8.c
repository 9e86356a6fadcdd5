/* ---- Arithmetic: 8-bit weights and values, 32-bit sums, float32 to convert a sum to a value. ----
 *
 * A value is stored as an integer multiple of its channel's quantization step. The steps of a layer's input are part of its
 * weights, and the steps of its output are part of its scales and biases. Only rounding and clipping are left to do here. */

typedef int8_t weight_t;
typedef int32_t sum_t;
typedef uint8_t positive_t; /* values after a ReLU */
typedef int8_t signed_t;

static positive_t to_positive(float x)
{
    if (!(x > 0.0f))
        return 0;
    return x < 254.5f ? (positive_t)(x + 0.5f) : 255;
}

static signed_t to_signed(float x)
{
    if (!(x > -126.5f))
        return -127;
    if (x > 126.5f)
        return 127;
    return (signed_t)(x < 0.0f ? x - 0.5f : x + 0.5f);
}

static float scaled(float x, const float *scales, int c) { return x * scales[c]; }
