/* ---- The listener. ---- */

int @name@_listen(const int16_t samples[@NAME@_HOP], float *confidence)
{
    float mean[CLASSES];
    int top = 0;
    @name@_push(samples, @NAME@_HOP);
    const int whole = @name@_probabilities(listener.looks[listener.next]);
    listener.next = (listener.next + 1) % @NAME@_SMOOTHED;
    for (int c = 0; c < CLASSES; c++) {
        mean[c] = 0.0f;
        for (int look = 0; look < @NAME@_SMOOTHED; look++)
            mean[c] += listener.looks[look][c] / @NAME@_SMOOTHED;
        if (mean[c] > mean[top])
            top = c;
    }
    const float sure = mean[top] / (mean[top] + (1.0f - mean[top]) * expf(@NAME@_ISOLATION * doubt()));
    if (confidence)
        *confidence = sure;
    if (listener.rest)
        listener.rest--;
    if (sure < @name@_stream_thresholds[top]) {
        listener.told = 0;
        return -1;
    }
    if (listener.told == top + 1)
        return -1;
    listener.told = 0;
    if (listener.rest || !whole)
        return -1;
    listener.rest = @NAME@_REFRACTORY;
    listener.told = top + 1;
    return top;
}
