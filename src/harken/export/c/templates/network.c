/* ---- Network: a causal BC-ResNet, one frame at a time. Values are stored as [band][channel]. ---- */

typedef struct {
    int in, out; /* channels */
    int bands_in, bands_out;
    int dilation;
    const weight_t *widen; /* [in][out]; NULL if the block has an identity path instead */
    const float *widen_scale, *widen_bias; /* [out] */
    const weight_t *over_bands; /* [3][out] */
    const float *band_scale, *band_shift; /* [SUB_BANDS][out] */
    const float *mean_scale; /* [out] */
    const weight_t *over_time; /* [3][out], oldest first */
    const float *time_scale, *time_bias; /* [out] */
    const float *silu_scale; /* [out] */
    const weight_t *mix; /* [out][out] */
    const float *mix_scale; /* [out] */
    const float *identity_scale; /* [out] */
    int past; /* offset of its part of past.means, [2 * dilation][out] */
} Block;

@blocks@

/* The state: values of earlier frames that later frames need. Each is a ring buffer, indexed by the frame or step modulo its
 * length. A reset sets all of it to zero, which is the padding that the network was trained with. */
static struct {
    int frame, step; /* counted since the reset, modulo FRAME_CYCLE and STEP_CYCLE */
    int steps; /* number of steps in `logits` */
    signed_t features[STEM_REACH][BANDS];
    signed_t means[PAST_MEANS];
    positive_t top[TOP_REACH][TOP_BANDS * TOP];
    float logits[WINDOW_STEPS][CLASSES];
} past;

/* Temporary values of one step. */
static struct {
    positive_t x[MAX_VALUES], widened[MAX_WIDENED];
    float y[MAX_MIDDLE];
    signed_t z[MAX_CHANNELS];
    positive_t expanded[EXPANDED];
    sum_t sums[MAX_SUMS];
} work;

static void clear_sums(int count)
{
    for (int c = 0; c < count; c++)
        work.sums[c] = 0;
}

/* Add one value times its weights to the sums of all channels. */
static void add_to_all(sum_t x, const weight_t *weights, int count)
{
    for (int c = 0; c < count; c++)
        work.sums[c] += weights[c] * x;
}

/* Add values times weights to the sums, separately for each channel. */
static void add_by_channel(const positive_t *x, const weight_t *weights, int count)
{
    for (int c = 0; c < count; c++)
        work.sums[c] += weights[c] * x[c];
}

static void run_stem(void)
{
    for (int band = 0; band < STEM_BANDS; band++) {
        clear_sums(STEM);
        for (int i = 0; i < STEM_KERNEL; i++) {
            const int row = 2 * band + i - STEM_KERNEL / 2;
            if (row < 0 || row >= BANDS)
                continue;
            for (int k = 0; k < STEM_REACH; k++) /* The slot after the newest is the oldest. */
                add_to_all(past.features[(past.frame + 1 + k) % STEM_REACH][row], stem + (i * STEM_REACH + k) * STEM, STEM);
        }
        for (int c = 0; c < STEM; c++)
            work.x[band * STEM + c] = to_positive(scaled((float)work.sums[c], stem_scale, c) + stem_bias[c]);
    }
}

/* Change the number of channels by a 1x1 convolution: from work.x to work.widened. */
static void run_widen(const Block *b)
{
    for (int band = 0; band < b->bands_in; band++) {
        clear_sums(b->out);
        for (int i = 0; i < b->in; i++)
            add_to_all(work.x[band * b->in + i], b->widen + i * b->out, b->out);
        for (int c = 0; c < b->out; c++)
            work.widened[band * b->out + c] = to_positive(scaled((float)work.sums[c], b->widen_scale, c) + b->widen_bias[c]);
    }
}

/* Convolve over the bands: from x to work.y. */
static void run_over_bands(const Block *b, const positive_t *x)
{
    const int stride = b->bands_in / b->bands_out;
    for (int band = 0; band < b->bands_out; band++) {
        const int part = band * SUB_BANDS / b->bands_out * b->out;
        clear_sums(b->out);
        for (int k = 0; k < 3; k++) {
            const int row = stride * band + k - 1;
            if (row >= 0 && row < b->bands_in)
                add_by_channel(x + row * b->out, b->over_bands + k * b->out, b->out);
        }
        for (int c = 0; c < b->out; c++)
            work.y[band * b->out + c] = (float)work.sums[c] * b->band_scale[part + c] + b->band_shift[part + c];
    }
}

/* Convolve the mean of the bands over time: from work.y to work.z. */
static void run_over_time(const Block *b)
{
    signed_t *older = past.means + b->past + past.step % (2 * b->dilation) * b->out;
    const signed_t *old = past.means + b->past + (past.step + b->dilation) % (2 * b->dilation) * b->out;
    for (int c = 0; c < b->out; c++) {
        float total = 0.0f;
        for (int band = 0; band < b->bands_out; band++)
            total += work.y[band * b->out + c];
        const signed_t now = to_signed(scaled(total / (float)b->bands_out, b->mean_scale, c));
        const sum_t sum = b->over_time[c] * older[c] + b->over_time[b->out + c] * old[c] + b->over_time[2 * b->out + c] * now;
        const float z = scaled((float)sum, b->time_scale, c) + b->time_bias[c];
        older[c] = now;
        work.z[c] = to_signed(scaled(z / (1.0f + expf(-z)), b->silu_scale, c));
    }
}

static void run_block(const Block *b)
{
    if (b->widen)
        run_widen(b);
    run_over_bands(b, b->widen ? work.widened : work.x);
    run_over_time(b);
    clear_sums(b->out);
    for (int i = 0; i < b->out; i++)
        add_to_all(work.z[i], b->mix + i * b->out, b->out);
    for (int band = 0; band < b->bands_out; band++)
        for (int c = 0; c < b->out; c++) {
            float sum = work.y[band * b->out + c] + scaled((float)work.sums[c], b->mix_scale, c);
            if (!b->widen)
                sum += scaled((float)work.x[band * b->out + c], b->identity_scale, c);
            work.x[band * b->out + c] = to_positive(sum);
        }
}

/* Compute the logits of the step from the output of the last block. */
static void run_top(void)
{
    float *logits = past.logits[past.step % WINDOW_STEPS];
    for (int i = 0; i < TOP_BANDS * TOP; i++)
        past.top[past.step % TOP_REACH][i] = work.x[i];
    clear_sums(TOP);
    for (int k = 0; k < TOP_REACH; k++)
        for (int band = 0; band < TOP_BANDS; band++)
            add_by_channel(past.top[(past.step + 1 + k) % TOP_REACH] + band * TOP, last + (k * TOP_BANDS + band) * TOP, TOP);
    for (int c = 0; c < TOP; c++)
        work.z[c] = to_signed(scaled((float)work.sums[c], last_scale, c));
    clear_sums(EXPANDED);
    for (int i = 0; i < TOP; i++)
        add_to_all(work.z[i], expand + i * EXPANDED, EXPANDED);
    for (int c = 0; c < EXPANDED; c++)
        work.expanded[c] = to_positive(scaled((float)work.sums[c], expand_scale, c) + expand_bias[c]);
    clear_sums(CLASSES);
    for (int i = 0; i < EXPANDED; i++)
        add_to_all(work.expanded[i], classify + i * CLASSES, CLASSES);
    for (int c = 0; c < CLASSES; c++)
        logits[c] = scaled((float)work.sums[c], classify_scale, c) + classify_bias[c];
}

/* Add one frame of features. Every TIME_STRIDE frames, the network makes a step. */
static void push_features(const float features[BANDS])
{
    for (int band = 0; band < BANDS; band++)
        past.features[past.frame % STEM_REACH][band] = to_signed((features[band] - norm_mean[band]) * norm_scale[band]);
    if (past.frame % TIME_STRIDE == 0) {
        run_stem();
        for (int i = 0; i < BLOCKS; i++)
            run_block(&blocks[i]);
        run_top();
        past.step = (past.step + 1) % STEP_CYCLE;
        if (past.steps < WINDOW_STEPS)
            past.steps++;
    }
    past.frame = (past.frame + 1) % FRAME_CYCLE;
}
