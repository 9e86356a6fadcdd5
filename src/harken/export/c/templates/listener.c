/* ---- The listener. ---- */

int @name@_listen(const int16_t samples[@NAME@_HOP], float *confidence)
{
    float mean[CLASSES];
    int top = 0;
    @name@_push(samples, @NAME@_HOP);
    const int filled = @name@_probabilities(listener.history[listener.next]);
    push_silence(filled ? @silence@ : 0.0f);
    listener.next = (listener.next + 1) % @NAME@_SMOOTHED;
    for (int c = 0; c < CLASSES; c++) {
        mean[c] = 0.0f;
        for (int hop = 0; hop < @NAME@_SMOOTHED; hop++)
            mean[c] += listener.history[hop][c];
        mean[c] /= @NAME@_SMOOTHED; /* only once: a sum of rounded quotients can exceed 1 */
        if (mean[c] > mean[top])
            top = c;
    }
    const float score = mean[top] / (mean[top] + (1.0f - mean[top]) * expf(@NAME@_ISOLATION * isolation_penalty()));
    if (confidence)
        *confidence = score;
    if (listener.refractory)
        listener.refractory--;
    if (score < @name@_stream_thresholds[top]) {
        listener.reported = 0;
        return -1;
    }
    if (listener.reported == top + 1)
        return -1;
    listener.reported = 0;
    if (listener.refractory || !filled)
        return -1;
    listener.refractory = @NAME@_REFRACTORY;
    listener.reported = top + 1;
    return top;
}
