/* ---- Whether a word stands alone. ---- */

static struct {
    float powers[FRAMES_AROUND]; /* of the frames of @NAME@_SAMPLE_RATE / 20 samples, the newest last */
    float energy; /* of the frame that is not full yet, */
    int filled; /* and how many samples it has */
} levels;

static void hear_level(float sample)
{
    levels.energy += sample * sample;
    if (++levels.filled < LEVEL_FRAME)
        return;
    for (int i = 1; i < FRAMES_AROUND; i++)
        levels.powers[i - 1] = levels.powers[i];
    levels.powers[FRAMES_AROUND - 1] = levels.energy / LEVEL_FRAME;
    levels.energy = 0.0f;
    levels.filled = 0;
}

static float highest_of_newest(int frames)
{
    float highest = 0.0f;
    for (int i = FRAMES_AROUND - frames; i < FRAMES_AROUND; i++)
        if (levels.powers[i] > highest)
            highest = levels.powers[i];
    return highest;
}

/* The power that QUIET_FRAMES frames do not exceed. */
static float quiet_power(void)
{
    for (int i = 0;; i++) {
        int below = 0, same = 0;
        for (int j = 0; j < FRAMES_AROUND; j++) {
            below += levels.powers[j] < levels.powers[i];
            same += levels.powers[j] == levels.powers[i];
        }
        if (below < QUIET_FRAMES && QUIET_FRAMES <= below + same)
            return levels.powers[i];
    }
}

static float doubt_of(float loudest, float other)
{
    const float rise = 4.34294482f /* 10 / ln 10 */ * logf((loudest + LEVEL_FLOOR) / (other + LEVEL_FLOOR));
    const float doubt = (ALONE_DB - rise) / (ALONE_DB - AMONG_DB);
    return doubt < 0.0f ? 0.0f : doubt > 1.0f ? 1.0f : doubt;
}

/* 0 when the word stands alone, 1 for sound before it or after it, 2 for both. */
static float doubt(void)
{
    const float loudest = highest_of_newest(WINDOW_FRAMES);
    return doubt_of(loudest, quiet_power()) + doubt_of(loudest, highest_of_newest(AFTER_FRAMES));
}
