/* @NAME@: a recogniser of single spoken words, written by harken.
 *
 * Mono sound at @SAMPLE_RATE@ Hz in, a probability for each label out. Two ways to use it:
 *
 *   stream   @name@_reset(), then @name@_listen() for each @HOP@ samples: it says which word was heard. Or, to decide by
 *            yourself, @name@_push() as samples come, and @name@_probabilities() whenever an answer is wanted.
 *   clip     @name@_run() judges one window of @WINDOW@ samples.
 *
 * A clip is heard from silence: nothing comes before its first frame. A stream remembers what came before: each frame of
 * the network is computed once, on all the sound since the reset, and the answer is the average over the last window.
 * So a clip's answer is that of a stream which was reset at the clip's start.
 *
 * The state is static: one stream at a time, from one thread. Nothing is allocated; math.h is all that is linked.
 */
#ifndef HARKEN_@NAME@_H
#define HARKEN_@NAME@_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @NAME@_SAMPLE_RATE @SAMPLE_RATE@ /* Hz */
#define @NAME@_WINDOW @WINDOW@ /* samples judged at once */
#define @NAME@_STEP @STEP@ /* samples from one new answer of a stream to the next */
#define @NAME@_CLASSES @CLASSES@

/* The labels in the order of the probabilities, in UTF-8, and the least probability at which each counts as heard in a
 * clip. A stream has thresholds of its own, below. */
extern const char *const @name@_labels[@NAME@_CLASSES];
extern const float @name@_thresholds[@NAME@_CLASSES];

/* How a stream is decided on: harken's listener. The probabilities of the last @NAME@_SMOOTHED looks are averaged; that of the
 * most probable label is lowered by up to @NAME@_ISOLATION logits for other sound in the last 3 seconds, and by as many for
 * sound right after the word. The label is heard when what is left reaches its stream threshold, unless it has been told and
 * has stayed so since, or an event was less than @NAME@_REFRACTORY looks ago. These values: @listener_origin@. */
#define @NAME@_HOP @HOP@ /* samples from one look to the next */
#define @NAME@_SMOOTHED @SMOOTHED@ /* looks that are averaged */
#define @NAME@_REFRACTORY @REFRACTORY@ /* looks after an event during which there is no other */
#define @NAME@_ISOLATION @ISOLATION@ /* logits */
extern const float @name@_stream_thresholds[@NAME@_CLASSES]; /* over 1 for what is no word */

/* Forget all sound. A fresh program need not call it. */
void @name@_reset(void);

/* Hear `count` more samples of the stream, in pieces of any size. */
void @name@_push(const int16_t *samples, size_t count);

/* Hear the next @NAME@_HOP samples of the stream and decide. Returns the number of the label that was heard just now, or -1, as
 * always in the first window after a reset; and through `confidence`, unless it is NULL, what is held against the threshold. */
int @name@_listen(const int16_t samples[@NAME@_HOP], float *confidence);

/* Write the probabilities over the last window of the stream. Returns 1 once a whole window was heard; before, 0, and
 * they stand for what was heard so far (all zero before the first frame). */
int @name@_probabilities(float probabilities[@NAME@_CLASSES]);

/* Write the probabilities of one clip, full scale 1.0. Ends the stream: the state is reset before and after. */
void @name@_run(const float window[@NAME@_WINDOW], float probabilities[@NAME@_CLASSES]);

#ifdef __cplusplus
}
#endif

#endif
