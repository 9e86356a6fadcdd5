/* ---- The stream. ---- */

static struct {
    float history[@NAME@_SMOOTHED][CLASSES]; /* probabilities of the last hops */
    int next; /* index of the oldest entry of `history`, to be overwritten */
    int refractory; /* hops until the next detection is allowed */
    int reported; /* 1 + the label of the last detection while that stays at its threshold, or 0 */
} listener;

static void push_sample(float sample)
{
    frame_samples[frame_filled++] = sample;
    if (frame_filled == FRAME) {
        float energies[BANDS];
        log_mel(energies);
        push_features(energies);
        for (int i = HOP; i < FRAME; i++)
            frame_samples[i - HOP] = frame_samples[i];
        frame_filled = FRAME - HOP;
    }
}

static void clear(void *state, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)state)[i] = 0; /* All bits zero is 0.0f in IEEE 754. */
}

void @name@_reset(void)
{
    clear(&past, sizeof past);
    clear(&levels, sizeof levels);
    clear(&listener, sizeof listener);
    frame_filled = 0;
}

void @name@_push(const int16_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float sample = (float)samples[i] / 32768.0f;
        push_sample(sample);
        push_level(sample);
    }
}

int @name@_probabilities(float probabilities[@NAME@_CLASSES])
{
    float highest = -HUGE_VALF, total = 0.0f;
    for (int c = 0; c < CLASSES; c++) {
        float sum = 0.0f;
        for (int step = 0; step < past.steps; step++) /* A running sum would drift. */
            sum += past.logits[step][c];
        probabilities[c] = past.steps ? sum / (float)past.steps : 0.0f;
        if (probabilities[c] > highest)
            highest = probabilities[c];
    }
    for (int c = 0; c < CLASSES; c++)
        total += probabilities[c] = past.steps ? expf(probabilities[c] - highest) : 0.0f;
    for (int c = 0; c < CLASSES && past.steps; c++)
        probabilities[c] /= total;
    return past.steps == WINDOW_STEPS;
}

void @name@_run(const float window[@NAME@_WINDOW], float probabilities[@NAME@_CLASSES])
{
    @name@_reset();
    for (int i = 0; i < @NAME@_WINDOW; i++)
        push_sample(window[i]);
    @name@_probabilities(probabilities);
    @name@_reset();
}
