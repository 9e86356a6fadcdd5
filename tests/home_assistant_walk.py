"""Add a Wyoming server to a Home Assistant core, and give audio to the wake word entity that it makes of it.

`test_home_assistant.py` runs this with an interpreter that has Home Assistant; harken need not be installed there.

python home_assistant_walk.py CONFIG_FOLDER PORT WORD AUDIO...

AUDIO is a file of 16-bit mono samples at 16 kHz. Prints one JSON object: the wake words as Home Assistant lists them, the
result for each AUDIO when WORD is chosen, and the state of the entity.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from homeassistant import bootstrap, loader
from homeassistant.config_entries import SOURCE_USER, ConfigEntries
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

CHUNK_BYTES = 2048  # as Home Assistant receives from a satellite


async def chunks(audio: bytes) -> AsyncIterator[tuple[bytes, int]]:
    """Yield the audio as a satellite sends it, each chunk with its time in milliseconds, and then a second of silence."""
    audio += bytes(32_000)
    for start in range(0, len(audio), CHUNK_BYTES):
        yield audio[start : start + CHUNK_BYTES], start // 32
        await asyncio.sleep(0.005)
    await asyncio.sleep(1.0)  # for the answer to the last chunk: Home Assistant leaves when the audio ends


async def walk(folder: str, port: int, word: str, files: list[str]) -> dict[str, Any]:
    """Return what Home Assistant makes of the server."""
    home = HomeAssistant(folder)
    loader.async_setup(home)
    home.config.skip_pip = True
    home.config_entries = ConfigEntries(home, {})
    await bootstrap.async_load_base_functionality(home)
    # `wyoming` depends on the voice pipeline and, in newer releases, on the satellites. They bring the web server and
    # ffmpeg, which play no role here.
    for name in (await loader.async_get_integration(home, "wyoming")).dependencies:
        home.config.components.add(name)
    assert await async_setup_component(home, "wake_word", {})
    form = await home.config_entries.flow.async_init("wyoming", context={"source": SOURCE_USER})
    added = await home.config_entries.flow.async_configure(form["flow_id"], {"host": "127.0.0.1", "port": port})
    await home.async_block_till_done()
    entity_id = home.states.async_entity_ids("wake_word")[0]
    entity = home.data["wake_word"].get_entity(entity_id)
    listed = await entity.get_supported_wake_words()
    results = []
    for file in files:
        found = await entity.async_process_audio_stream(chunks(Path(file).read_bytes()), word)
        results.append(found and {"word": found.wake_word_id, "timestamp": found.timestamp})
    state = home.states.get(entity_id)
    return {
        "added": added["type"],
        "title": added.get("title"),
        "entity": entity_id,
        "wake_words": [[entry.id, entry.name, entry.phrase] for entry in listed],
        "results": results,
        "state": state and state.state,
    }


if __name__ == "__main__":
    answer = asyncio.run(walk(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
    print(json.dumps(answer))
