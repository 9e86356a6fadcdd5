/* ---- The stream. ---- */

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

void @name@_reset(void)
{
    unsigned char *bytes = (unsigned char *)&past;
    for (size_t i = 0; i < sizeof past; i++)
        bytes[i] = 0; /* all bits zero is 0.0f in IEEE 754 */
    bytes = (unsigned char *)&listener;
    for (size_t i = 0; i < sizeof listener; i++)
        bytes[i] = 0;
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
