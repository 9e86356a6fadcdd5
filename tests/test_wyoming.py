"""The Wyoming server, with the client classes of the package `wyoming` and a model that hears where a window is loud.

The model's window is a second. A burst of sound passes through its quarters from the last to the first: it is `no` while it
is in the second quarter, half a second after it ended, and `yes` while it is in the first.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("wyoming")

from wyoming.client import AsyncClient, AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, async_read_event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from conftest import MakeModel
from harken.errors import HarkenError
from harken.serve.limits import Limits
from harken.serve.wyoming_messages import AudioFormat
from harken.serve.wyoming_models import Thresholds, WakeWords
from harken.serve.wyoming_server import Address, WyomingServer, parse_uri
from wyoming_client import LISTENER, RATE, answers, burst, encode, names, send_audio


@pytest.fixture
def model(make_model: MakeModel, tmp_path: Path) -> Path:
    return make_model(tmp_path / "quarters.onnx", listener=LISTENER)


@pytest.fixture
def words(model: Path) -> WakeWords:
    return WakeWords([str(model)], refractory_s=0.0)


@asynccontextmanager
async def running(words: WakeWords, **limits: Any) -> AsyncIterator[int]:
    server = WyomingServer(words, limits=Limits(**limits), threads=1)
    try:
        async with server.listening(Address("tcp", "127.0.0.1", 0)) as port:
            yield port
    finally:
        server.close()


def with_server(words: WakeWords, talk: Callable[[int], Awaitable[None]], **limits: Any) -> None:
    async def run() -> None:
        async with running(words, **limits) as port, asyncio.timeout(60):
            await talk(port)

    asyncio.run(run())


def test_describe_is_answered_with_what_home_assistant_reads(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        # Home Assistant connects, asks once, skips other messages, and gives up after a second.
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Describe().event())
            event = await asyncio.wait_for(client.read_event(), 10)
            assert event is not None
            info = Info.from_event(event)
        assert not any((info.asr, info.tts, info.satellite, info.intent, info.handle))
        assert len(info.wake) == 1
        program = info.wake[0]
        assert program.installed
        assert program.name == "harken"
        assert program.version
        assert program.attribution.name
        assert [model.name for model in program.models] == ["yes", "no"]
        assert [model.phrase for model in program.models] == ["yes", "no"]
        assert all(model.installed and model.description for model in program.models)

    with_server(words, talk)


def test_ping(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Ping(text="hello").event())
            event = await client.read_event()
            assert event is not None
            assert Pong.from_event(event).text == "hello"

    with_server(words, talk)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, ["no", "yes"]),
        ([], ["no", "yes"]),
        (["yes"], ["yes"]),
        (["Yes"], ["Yes"]),  # Home Assistant skips a detection whose name is not what it asked for
        (["quarters"], ["quarters", "quarters"]),  # a model's name stands for all its words
    ],
)
def test_detect_selects_the_words(words: WakeWords, asked: list[str] | None, expected: list[str]) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Detect(names=asked).event())
            await send_audio(client, burst())
            received = await answers(client)
        assert names(received) == expected
        assert len(received) == len(expected)

    with_server(words, talk)


def test_a_word_is_detected_once_with_the_timestamp_of_its_chunk(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            for timestamps in (True, False):
                await client.write_event(Detect(names=["yes"]).event())
                await send_audio(client, burst(), timestamps=timestamps)
                detections = [Detection.from_event(event) for event in await answers(client)]
                assert [detection.name for detection in detections] == ["yes"]
                # The burst is in the first quarter when three quarters of a second have passed since it.
                assert detections[0].timestamp == pytest.approx(1220, abs=80)

    with_server(words, talk)


def test_not_detected_at_the_end_of_a_stream_without_a_word(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await send_audio(client, np.zeros(RATE))
            assert [event.type for event in await answers(client)] == [NotDetected().event().type]
            await send_audio(client, burst(after_s=0.0))  # the words are found in the silence behind the end
            assert names(await answers(client)) == ["no", "yes"]
            assert [event.type for event in await answers(client)] == ["not-detected"]  # no stream was open

    with_server(words, talk)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize(("rate", "channels", "chunk"), [(8000, 1, 333), (44_100, 2, 7001), (48_000, 3, 100_000)])
def test_audio_of_any_format(words: WakeWords, rate: int, channels: int, chunk: int, width: int) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await send_audio(client, burst(rate), rate, width=width, channels=channels, chunk=chunk)
            assert names(await answers(client)) == ["no", "yes"]

    with_server(words, talk)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_are_decoded(width: int) -> None:
    samples = np.array([0.0, 0.5, -0.5, 0.9])
    decoded = AudioFormat(RATE, width, 2).decode(encode(samples, width, 2))
    decoded = decoded / 32768 if decoded.dtype == np.int16 else decoded
    assert decoded.shape == (4, 2)
    np.testing.assert_allclose(decoded[:, 1], samples, atol=0.01)


def test_the_rate_may_change_and_the_start_may_be_missing(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await send_audio(client, np.zeros(8000), 8000, start=False)
            await send_audio(client, burst(44_100), 44_100, start=False)
            assert names(await answers(client)) == ["no", "yes"]

    with_server(words, talk)


def test_an_unknown_name_is_answered_with_an_error(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Detect(names=["hey_nobody"]).event())
            await send_audio(client, burst())
            received = await answers(client)
        assert Error.from_event(received[0]).text == "no wake word is called hey_nobody; there are yes, no"
        assert [event.type for event in received[1:]] == ["not-detected"]

    with_server(words, talk)


def test_the_refractory_time_holds_back_a_second_word(model: Path) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await send_audio(client, burst())
            assert names(await answers(client)) == ["no"]

    with_server(WakeWords([str(model)]), talk)


@pytest.mark.parametrize(
    ("given", "expected"), [(["1"], []), (["1", "yes=0.5"], ["yes"]), (["no=1.0"], ["yes"]), (["0.5"], ["no", "yes"])]
)
def test_thresholds(make_model: MakeModel, given: list[str], expected: list[str]) -> None:
    thresholds = Thresholds.read(given)
    # The network's score reaches 0.97 at most for a burst of this level.
    words = WakeWords([str(make_model(listener=LISTENER))], thresholds=thresholds, refractory_s=0.0)

    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await send_audio(client, 0.55 * burst())
            assert names(await answers(client)) == expected

    with_server(words, talk)


def test_a_file_dropped_into_the_folder_is_there_at_once(make_model: MakeModel, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    words = WakeWords([], [folder], refractory_s=0.0)
    hey = make_model(tmp_path / "made.onnx", labels=["hey house", "no", "_unknown_", "_silence_"], listener=LISTENER)

    async def described(client: AsyncClient) -> list[tuple[str, str | None]]:
        await client.write_event(Describe().event())
        event = await client.read_event()
        assert event is not None
        return [(model.name, model.phrase) for model in Info.from_event(event).wake[0].models]

    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            assert await described(client) == []
            (folder / "broken.onnx").write_bytes(b"not a model")
            (folder / "other.tflite").write_bytes(b"not ours")
            shutil.copy(hey, folder / "house.onnx")
            assert await described(client) == [("hey_house", "hey house"), ("no", "no")]
            await client.write_event(Detect(names=["hey house"]).event())
            await send_audio(client, burst())
            assert names(await answers(client)) == ["hey house"]
            shutil.copy(hey, folder / "later.onnx")
            assert [name for name, _ in await described(client)] == ["hey_house", "no", "hey_house_later", "no_later"]
            (folder / "house.onnx").unlink()
            assert [name for name, _ in await described(client)] == ["hey_house", "no"]

    with_server(words, talk)


def test_many_clients_share_the_network_and_nothing_else(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import harken.serve.wyoming_models as module

    opened = []
    open_stream_model = module.open_stream_model
    monkeypatch.setattr(
        module, "open_stream_model", lambda path, **given: opened.append(path) or open_stream_model(path, **given)
    )
    words = WakeWords([str(model)], refractory_s=0.0)

    async def client_of(port: int, number: int) -> list[str | None]:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Detect(names=["yes"] if number % 2 else None).event())
            await send_audio(client, burst() if number % 3 else np.zeros(RATE), chunk=1000 + number)
            return names(await answers(client))

    async def talk(port: int) -> None:
        received = await asyncio.gather(*(client_of(port, number) for number in range(12)))
        expected = [[] if not number % 3 else ["yes"] if number % 2 else ["no", "yes"] for number in range(12)]
        assert received == expected

    with_server(words, talk)
    assert opened == [model]


NONSENSE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"[1, 2]\n",
    b'{"type": 7}\n',
    b'{"data": {}}\n',
    b'{"type": "describe", "data": 5}\n',
    b'{"type": "ping", "data": {"text": "\\ud800"}}\n',
    b'{"type": "describe", "data_length": -1}\n',
    b'{"type": "describe", "data_length": 3}\n[1]',
    b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    b'{"type": "audio-chunk", "payload_length": "many"}\n',
    b'{"type": "audio-chunk", "payload_length": true}\n',
    b'{"type": "audio-start"}\n',
    b'{"type": "audio-start", "data": {"rate": 1e4, "width": 2, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": 1, "width": 2, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": 16000, "width": 5, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 0}}\n',
    b'{"type": "detect", "data": {"names": "yes"}}\n',
    b'{"type": "detect", "data": {"names": [[]]}}\n',
    b"[" * 50_000 + b"\n",
    b"x" * 200_000,
    bytes(range(128, 256)) + b"\n",
]


def test_nonsense_costs_the_others_nothing(words: WakeWords, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as good:
            await good.write_event(Detect(names=["yes"]).event())
            half = burst()
            await send_audio(good, half[: half.size // 2])
            for nonsense in NONSENSE:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(nonsense)
                last = b"".join([line async for line in reader])  # until the server closes
                assert json.loads(last.partition(b"\n")[0])["type"] == "error", nonsense[:80]
                writer.close()
            for cut in (b'{"type": "desc', b'{"type": "describe", "data_length": 9}\n{}'):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(cut)
                writer.close()
            await send_audio(good, half[half.size // 2 :], start=False)
            assert names(await answers(good)) == ["yes"]

    with_server(words, talk)
    assert "internal error" not in caplog.text


def test_unknown_messages_are_skipped(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Event("select-program", {"name": "harken"}))
            await client.write_event(Event("from-the-future", {"a": [1]}, b"payload"))
            assert [event.type for event in await answers(client)] == ["not-detected"]

    with_server(words, talk)


def test_a_stalled_message_ends_the_connection(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"type": "audio-chunk", "payload_length": 100}\n')
        assert b"not complete" in await reader.read()
        writer.close()

    with_server(words, talk, header_s=0.3)


def test_a_silent_stream_gives_its_place_back_and_the_connection_stays(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as first, AsyncTcpClient("127.0.0.1", port) as second:
            await send_audio(first, np.zeros(100))
            await first.write_event(Ping().event())
            await first.read_event()
            await send_audio(second, np.zeros(100))
            refused = await second.read_event()
            assert refused is not None
            assert "too many streams" in Error.from_event(refused).text
            await asyncio.sleep(0.8)
            async with AsyncTcpClient("127.0.0.1", port) as third:
                await send_audio(third, burst())
                assert names(await answers(third)) == ["no", "yes"]
            await send_audio(first, burst())
            assert names(await answers(first)) == ["no", "yes"]

    with_server(words, talk, streams=1, idle_s=0.5)


def test_the_longest_silent_connection_makes_room(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        connections = []

        async def connect() -> int:
            connections.append(await asyncio.open_connection("127.0.0.1", port))
            return len(connections) - 1

        async def answered(number: int) -> bool:
            reader, writer = connections[number]
            try:
                writer.write(b'{"type": "ping"}\n')
                return await async_read_event(reader) is not None
            except OSError:
                return False

        first, second = await connect(), await connect()
        assert await answered(first)
        assert await answered(second)
        assert not await answered(await connect())
        await asyncio.sleep(0.6)
        assert await answered(first)
        assert await answered(await connect())
        assert await answered(first)
        assert not await answered(second)

    with_server(words, talk, connections=2, idle_s=0.5)


def test_a_flood_does_not_starve_others(words: WakeWords) -> None:
    async def flood(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            while True:
                await send_audio(client, np.tile(burst(), 4), chunk=200_000)

    async def talk(port: int) -> None:
        floods = [asyncio.create_task(flood(port)) for _ in range(3)]
        await asyncio.sleep(0.2)
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Describe().event())
            event = await asyncio.wait_for(client.read_event(), 10)
            assert event is not None
            await send_audio(client, burst(), chunk=8000)
            assert names(await asyncio.wait_for(answers(client), 20)) == ["no", "yes"]
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)

    with_server(words, talk)


def test_a_bundled_model_detects_speech() -> None:
    pytest.importorskip("piper")
    from serving import synthesize

    speech = np.concatenate([synthesize(word, after_s=1.0) for word in ("left", "stop")])

    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Detect(names=["stop"]).event())
            await send_audio(client, np.clip(speech, -1, 1))
            assert names(await answers(client)) == ["stop"]

    with_server(WakeWords(["base.stream"], thresholds=Thresholds.read(["0.5"])), talk)


def test_a_port_in_use_gets_one_line(words: WakeWords) -> None:
    async def talk(port: int) -> None:
        server = WyomingServer(words, limits=Limits(), threads=1)
        with pytest.raises(HarkenError, match=f"cannot open port {port}"):
            async with server.listening(parse_uri(f"tcp://127.0.0.1:{port}")):
                pass
        server.close()

    with_server(words, talk)
