/* ---- Front-end: log-mel energies of a frame, by a mixed-radix FFT of the frame's length. ---- */

static float frame_samples[FRAME];
static int frame_filled;
static Complex spectrum[2][HALF_FRAME];
static float power[HALF_FRAME + 1];

static Complex plus(Complex a, Complex b) { return (Complex){a.re + b.re, a.im + b.im}; }

static Complex minus(Complex a, Complex b) { return (Complex){a.re - b.re, a.im - b.im}; }

static Complex minus_i_times(Complex a, Complex b) { return (Complex){a.re + b.im, a.im - b.re}; } /* a - i b */

static Complex plus_i_times(Complex a, Complex b) { return (Complex){a.re - b.im, a.im + b.re}; } /* a + i b */

static Complex times(Complex a, Complex b)
{
    return (Complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* a + p b + q c, with real p and q */
static Complex combine(Complex a, float p, Complex b, float q, Complex c)
{
    return (Complex){a.re + p * b.re + q * c.re, a.im + p * b.im + q * c.im};
}

/* Compute the DFT of `radix` values in place. */
static void butterfly(Complex *x, int radix)
{
    static const Complex zero = {0.0f, 0.0f};
    if (radix == 2) {
        const Complex a = x[0];
        x[0] = plus(a, x[1]);
        x[1] = minus(a, x[1]);
    } else if (radix == 3) {
        const Complex both = plus(x[1], x[2]), apart = minus(x[1], x[2]);
        const Complex middle = combine(x[0], -0.5f, both, 0.0f, zero);
        const Complex side = combine(zero, 0.866025404f, apart, 0.0f, zero);
        x[0] = plus(x[0], both);
        x[1] = minus_i_times(middle, side);
        x[2] = plus_i_times(middle, side);
    } else if (radix == 4) {
        const Complex a = plus(x[0], x[2]), b = minus(x[0], x[2]), c = plus(x[1], x[3]), d = minus(x[1], x[3]);
        x[0] = plus(a, c);
        x[1] = minus_i_times(b, d);
        x[2] = minus(a, c);
        x[3] = plus_i_times(b, d);
    } else {
        const Complex outer = plus(x[1], x[4]), inner = plus(x[2], x[3]);
        const Complex outer_apart = minus(x[1], x[4]), inner_apart = minus(x[2], x[3]);
        const Complex a = combine(x[0], 0.309016994f, outer, -0.809016994f, inner);
        const Complex b = combine(x[0], -0.809016994f, outer, 0.309016994f, inner);
        const Complex c = combine(zero, 0.951056516f, outer_apart, 0.587785252f, inner_apart);
        const Complex d = combine(zero, 0.587785252f, outer_apart, -0.951056516f, inner_apart);
        x[0] = plus(x[0], plus(outer, inner));
        x[1] = minus_i_times(a, c);
        x[2] = minus_i_times(b, d);
        x[3] = plus_i_times(b, d);
        x[4] = plus_i_times(a, c);
    }
}

/* Compute the DFT of spectrum[0] by Stockham's self-sorting algorithm (Cochran et al., 1967). Returns the result. */
static const Complex *transform(void)
{
    const Complex *from = spectrum[0];
    Complex *to = spectrum[1];
    int length = HALF_FRAME, stride = 1;
    for (int stage = 0; stage < FFT_STAGES; stage++) {
        const int radix = radices[stage];
        const int part = length / radix;
        for (int group = 0; group < part; group++)
            for (int i = 0; i < stride; i++) {
                Complex x[5];
                for (int k = 0; k < radix; k++)
                    x[k] = from[i + stride * (group + k * part)];
                butterfly(x, radix);
                to[i + stride * radix * group] = x[0];
                for (int k = 1; k < radix; k++)
                    to[i + stride * (radix * group + k)] = times(x[k], roots[stride * group * k]);
            }
        length = part;
        stride *= radix;
        to = spectrum[stage % 2];
        from = spectrum[1 - stage % 2];
    }
    return from;
}

/* Compute the power spectrum of the frame. Even samples are real parts and odd samples imaginary parts of half as many values. */
static void power_spectrum(void)
{
    for (int i = 0; i < HALF_FRAME; i++) {
        const int even = 2 * i, odd = 2 * i + 1; /* The Hann window is symmetric. */
        spectrum[0][i].re = frame_samples[even] * hann[even <= HALF_FRAME ? even : FRAME - even];
        spectrum[0][i].im = frame_samples[odd] * hann[odd <= HALF_FRAME ? odd : FRAME - odd];
    }
    const Complex *z = transform();
    for (int k = 0; k <= HALF_FRAME / 2; k++) {
        const Complex a = z[k], b = z[k ? HALF_FRAME - k : 0];
        const Complex even = {0.5f * (a.re + b.re), 0.5f * (a.im - b.im)};
        const Complex odd = times((Complex){0.5f * (a.im + b.im), 0.5f * (b.re - a.re)}, half_roots[k]);
        const Complex low = plus(even, odd), high = minus(even, odd);
        power[k] = low.re * low.re + low.im * low.im;
        power[HALF_FRAME - k] = high.re * high.re + high.im * high.im;
    }
}

/* Compute the log-mel energies of the frame. */
static void log_mel(float energies[BANDS])
{
    const float *weight = mel_weights;
    power_spectrum();
    for (int band = 0; band < BANDS; band++) {
        float energy = 0.0f;
        for (int i = 0; i < mel_count[band]; i++)
            energy += *weight++ * power[mel_first[band] + i];
        energies[band] = logf(energy + LOG_FLOOR);
    }
}
