"""Make a phrase stricter, so that it has few false alarms on recordings from the place of use.

recordings_in   the recordings in a folder
excess_logit    by how much the logits of a phrase must be lower for them
"""

import math
from pathlib import Path

import numpy as np

from harken.audio.clip import load_clip
from harken.corpus.table import audio_files, skipped_audio
from harken.enrollment.bank import hours_of
from harken.enrollment.calibration import fit_tail, logit_of, peaks_of
from harken.enrollment.phrase import LearnedPhrase
from harken.errors import HarkenError, reporting_unreadable
from harken.models.speech_embedding import SAMPLE_RATE, STEP, SpeechEmbedding

_MIN_BACKGROUND_S = 60.0


def recordings_in(folder: Path) -> list[Path]:
    """Return the recordings in a folder.

    Raises
    ------
    HarkenError
        If it is not a folder, cannot be opened, or contains no recordings.
    """
    with reporting_unreadable(folder):
        if not folder.is_dir():
            raise HarkenError(f"{folder} is not a folder: give a folder with WAV, FLAC, OGG or MP3 files")
    if not (paths := audio_files(folder)):
        raise HarkenError(f"{folder} contains no recordings: give a folder with WAV, FLAC, OGG or MP3 files")
    return paths


def excess_logit(
    folder: Path, phrase: LearnedPhrase, embedding: SpeechEmbedding, per_hour: float
) -> tuple[float, list[str]]:
    """Return by how much the logits must be lower for a rate of false alarms on a folder of recordings, and notes on them."""
    embeddings = np.concatenate([embedding.embed(load_clip(path, SAMPLE_RATE)) for path in recordings_in(folder)])
    if len(embeddings) * STEP < _MIN_BACKGROUND_S * SAMPLE_RATE:
        raise HarkenError(f"{folder} contains less than {_MIN_BACKGROUND_S:g} s of sound: add more recordings")
    hours = hours_of(embeddings)
    notes = []
    if hours < 0.5:
        notes.append(f"the background lasts {60 * hours:.1f} minutes: only an hour or more shows rare false alarms")
    if left_out := skipped_audio(folder):
        notes.append(left_out)
    fit = fit_tail(peaks_of(phrase.logits(embeddings)), hours, usual_scale=1.0)
    # The logit that false alarms in the background exceed this often, and the one that they may.
    reached = fit.start + fit.scale * math.log(fit.per_hour / per_hour)
    return max(0.0, reached - logit_of(per_hour)), notes
