/* ---- What the listener remembers. ---- */

static struct {
    float looks[@NAME@_SMOOTHED][CLASSES];
    float powers[FRAMES_AROUND]; /* of the frames of @NAME@_SAMPLE_RATE / 20 samples, the newest last */
    float energy; /* of the frame that is not full yet, */
    int filled; /* and how many samples it has */
    int next; /* of the looks, to be written over */
    int rest; /* looks until there may be an event again */
    int told; /* one more than the label of the last event, while that stays; else 0 */
} listener;

static void hear_level(float sample)
{
    listener.energy += sample * sample;
    if (++listener.filled < LEVEL_FRAME)
        return;
    for (int i = 1; i < FRAMES_AROUND; i++)
        listener.powers[i - 1] = listener.powers[i];
    listener.powers[FRAMES_AROUND - 1] = listener.energy / LEVEL_FRAME;
    listener.energy = 0.0f;
    listener.filled = 0;
}

static float highest_of_newest(int frames)
{
    float highest = 0.0f;
    for (int i = FRAMES_AROUND - frames; i < FRAMES_AROUND; i++)
        if (listener.powers[i] > highest)
            highest = listener.powers[i];
    return highest;
}

/* The power that QUIET_FRAMES frames do not exceed. */
static float quiet_power(void)
{
    for (int i = 0;; i++) {
        int below = 0, same = 0;
        for (int j = 0; j < FRAMES_AROUND; j++) {
            below += listener.powers[j] < listener.powers[i];
            same += listener.powers[j] == listener.powers[i];
        }
        if (below < QUIET_FRAMES && QUIET_FRAMES <= below + same)
            return listener.powers[i];
    }
}

static float doubt_of(float loudest, float other)
{
    const float rise = 4.34294482f /* 10 / ln 10 */ * logf((loudest + LEVEL_FLOOR) / (other + LEVEL_FLOOR));
    const float doubt = (ALONE_DB - rise) / (ALONE_DB - AMONG_DB);
    return doubt < 0.0f ? 0.0f : doubt > 1.0f ? 1.0f : doubt;
}
