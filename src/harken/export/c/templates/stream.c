/* ---- The stream. ---- */

static struct {
    float looks[@NAME@_SMOOTHED][CLASSES];
    int next; /* of the looks, to be written over */
    int rest; /* looks until there may be an event again */
    int told; /* one more than the label of the last event, while that stays; else 0 */
} listener;

static void hear(float sample)
{
    frame_samples[frame_filled++] = sample;
    if (frame_filled == FRAME) {
        float energies[BANDS];
        log_mel(energies);
        hear_features(energies);
        for (int i = HOP; i < FRAME; i++)
            frame_samples[i - HOP] = frame_samples[i];
        frame_filled = FRAME - HOP;
    }
}

static void forget(void *state, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)state)[i] = 0; /* all bits zero is 0.0f in IEEE 754 */
}

void @name@_reset(void)
{
    forget(&past, sizeof past);
    forget(&levels, sizeof levels);
    forget(&listener, sizeof listener);
    frame_filled = 0;
}

void @name@_push(const int16_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float sample = (float)samples[i] / 32768.0f;
        hear(sample);
        hear_level(sample);
    }
}

int @name@_probabilities(float probabilities[@NAME@_CLASSES])
{
    float highest = -HUGE_VALF, total = 0.0f;
    for (int c = 0; c < CLASSES; c++) {
        float sum = 0.0f;
        for (int step = 0; step < past.steps; step++) /* summed afresh: a running sum would drift */
            sum += past.logits[step][c];
        probabilities[c] = past.steps ? sum / past.steps : 0.0f;
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
        hear(window[i]);
    @name@_probabilities(probabilities);
    @name@_reset();
}
