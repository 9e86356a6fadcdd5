/* ---- Isolation: whether a word stands alone, or within other sound. ---- */

static struct {
    float powers[HISTORY_FRAMES]; /* power of the last frames of @NAME@_SAMPLE_RATE / 20 samples, newest last */
    float energy; /* energy of the frame that is not full yet */
    int filled; /* samples in that frame */
    float silence[SILENCE_HOPS]; /* probability that the last hops were noise, newest last */
    float x1, x2, y1, y2; /* of the high-pass filter: the last two samples and the last two results */
} levels;

/* Remove the constant offset and the low hum of a microphone: they are no sound around a word. */
static float without_hum(float x)
{
    const float y = HIGH_PASS_GAIN * (x - 2.0f * levels.x1 + levels.x2) + HIGH_PASS_A * levels.y1 + HIGH_PASS_B * levels.y2;
    levels.x2 = levels.x1;
    levels.x1 = x;
    levels.y2 = levels.y1;
    levels.y1 = y;
    return y;
}

static void push_level(float sample)
{
    const float level = without_hum(sample);
    levels.energy += level * level;
    if (++levels.filled < LEVEL_FRAME)
        return;
    for (int i = 1; i < HISTORY_FRAMES; i++)
        levels.powers[i - 1] = levels.powers[i];
    levels.powers[HISTORY_FRAMES - 1] = levels.energy / (float)LEVEL_FRAME;
    levels.energy = 0.0f;
    levels.filled = 0;
}

static void push_silence(float probability)
{
    for (int i = 1; i < SILENCE_HOPS; i++)
        levels.silence[i - 1] = levels.silence[i];
    levels.silence[SILENCE_HOPS - 1] = probability;
}

static float highest_recent_power(int frames)
{
    float highest = 0.0f;
    for (int i = HISTORY_FRAMES - frames; i < HISTORY_FRAMES; i++)
        if (levels.powers[i] > highest)
            highest = levels.powers[i];
    return highest;
}

/* Return the power that QUIET_FRAMES frames do not exceed. */
static float quiet_power(void)
{
    for (int i = 0;; i++) {
        int below = 0, same = 0;
        for (int j = 0; j < HISTORY_FRAMES; j++) {
            below += levels.powers[j] < levels.powers[i];
            same += levels.powers[j] == levels.powers[i];
        }
        if (below < QUIET_FRAMES && QUIET_FRAMES <= below + same)
            return levels.powers[i];
    }
}

static float penalty_of(float loudest, float other)
{
    const float difference_db = 4.34294482f /* 10 / ln 10 */ * logf((loudest + POWER_FLOOR) / (other + POWER_FLOOR));
    const float penalty = (NO_PENALTY_DB - difference_db) / (NO_PENALTY_DB - FULL_PENALTY_DB);
    return penalty < 0.0f ? 0.0f : penalty > 1.0f ? 1.0f : penalty;
}

/* Return 0 if the word stands alone or in noise, 1 for other sound before or after it, 2 for both. */
static float isolation_penalty(void)
{
    const float loudest = highest_recent_power(WINDOW_FRAMES);
    float silence = 0.0f;
    for (int i = 0; i < EARLIER_HOPS; i++)
        silence += levels.silence[i];
    silence /= EARLIER_HOPS;
    return (penalty_of(loudest, quiet_power()) + penalty_of(loudest, highest_recent_power(AFTER_FRAMES))) * (1.0f - silence);
}
