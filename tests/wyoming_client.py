"""A client of the Wyoming server that sends bursts of sound, and the settings of the model that hears them."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("wyoming")

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.ping import Ping, Pong
from wyoming.wake import Detection

RATE = 16_000
LISTENER = {"hop_ms": 50.0, "smoothing_ms": 0.0, "refractory_ms": 0.0, "gate_db": -60.0, "isolation": 0.0}


def burst(rate: int = RATE, *, before_s: float = 0.3, seconds: float = 0.2, after_s: float = 1.2) -> Any:
    """Return a tone between silences, floats within 1."""
    tone = 0.9 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.pad(tone, (round(before_s * rate), round(after_s * rate)))


def encode(samples: Any, width: int, channels: int) -> bytes:
    """Return floats as raw audio."""
    if width == 1:
        frames = np.round(samples * 127 + 128).astype(np.uint8)[:, None]
    else:
        whole = np.round(samples * (2 ** (8 * width - 1) - 1)).astype("<i4")
        frames = whole.view(np.uint8).reshape(-1, 4)[:, :width]
    return np.repeat(frames[:, None], channels, axis=1).tobytes()


async def send_audio(
    client: AsyncClient,
    samples: Any,
    rate: int = RATE,
    *,
    width: int = 2,
    channels: int = 1,
    chunk: int = 2000,
    timestamps: bool = True,
    start: bool = True,
) -> None:
    """Send a stream in chunks of so many bytes."""
    if start:
        await client.write_event(AudioStart(rate, width, channels).event())
    audio = encode(samples, width, channels)
    for begin in range(0, len(audio), chunk):
        stamp = 1000 * begin // (width * channels * rate) if timestamps else None
        await client.write_event(AudioChunk(rate, width, channels, audio[begin : begin + chunk], stamp).event())


async def answers(client: AsyncClient) -> list[Event]:
    """End the stream, and return the answers to it."""
    await client.write_event(AudioStop().event())
    await client.write_event(Ping(text="end").event())
    received = []
    while (event := await client.read_event()) is not None:
        if Pong.is_type(event.type):
            return received
        received.append(event)
    raise AssertionError(f"the server left after {received}")


def names(events: list[Event]) -> list[str | None]:
    return [Detection.from_event(event).name for event in events if Detection.is_type(event.type)]
