/* ---- Arithmetic: everything in float32. ---- */

typedef float weight_t;
typedef float sum_t;
typedef float positive_t; /* values after a ReLU */
typedef float signed_t;

static positive_t to_positive(float x) { return x > 0.0f ? x : 0.0f; }

static signed_t to_signed(float x) { return x; }

/* Only integers need a scale. */
static float scaled(float x, const float *scales, int c)
{
    (void)scales;
    (void)c;
    return x;
}
