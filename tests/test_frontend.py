import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from conftest import spoken, tone
from harken.errors import HarkenError
from harken.models.frontend import LogMel, RawWaveform, build_front_end

librosa = pytest.importorskip("librosa")

RATE = 16_000
ON_SPEECH = 1e-4  # natural logarithm
ON_FULL_SCALE = 1e-3


def speech_like(rate: int = RATE) -> NDArray[np.float64]:
    """Return a second of harmonics with the envelope of a syllable, and a little noise."""
    time = np.arange(rate) / rate
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 3 * time)) / rate
    voice = sum(np.sin(number * pitch) / number for number in range(1, 16))
    breath = 0.003 * np.random.default_rng(0).standard_normal(rate)
    return 0.2 * voice * np.sin(np.pi * time) ** 2 + breath


QUIET = {
    "speech": speech_like(),
    "chirp": spoken("yes", "00000000").astype(np.float64),
    "silence": np.zeros(RATE),
    "last bit": np.random.default_rng(1).integers(-1, 2, RATE) / 32768,
}
FULL_SCALE = {
    f"{hz} Hz": tone(hz, 1.0, RATE, amplitude=1.0).astype(np.float64) for hz in (100, 440, 1000, 3333.3, 7000)
}
FULL_SCALE["square wave"] = np.sign(tone(200.5, 1.0, RATE)).astype(np.float64)


def reference(
    waveform: NDArray[np.float64],
    rate: int = RATE,
    *,
    bands: int = 40,
    window: int = 480,
    hop: int = 160,
    low: float = 20.0,
    high: float = 7600.0,
) -> NDArray[np.float64]:
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=rate, n_fft=window, hop_length=hop, window="hann", center=False, power=2.0,
        n_mels=bands, fmin=low, fmax=high, htk=False, norm="slaney", dtype=np.float64,
    )  # fmt: skip
    return np.log(mel + 1e-6)


def compute(module: torch.nn.Module, waveform: NDArray[np.float64], dtype: torch.dtype) -> NDArray[np.float64]:
    return module(torch.tensor(waveform[None], dtype=dtype))[0].double().numpy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[onnx.ModelProto, onnxruntime.InferenceSession]:
    path = tmp_path_factory.mktemp("front_end") / "log_mel.onnx"
    clips = {"waveform": {0: torch.export.Dim("clips")}}
    program = torch.onnx.export(
        LogMel().eval(), (torch.zeros(2, RATE),), dynamo=True, opset_version=20, dynamic_shapes=clips
    )
    assert program is not None
    program.save(str(path))
    return onnx.load(path), onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_mel_equals_librosas_on_speech_and_silence(name: str, dtype: torch.dtype) -> None:
    found = compute(LogMel().to(dtype), QUIET[name], dtype)
    assert found.shape == (40, 98)
    np.testing.assert_allclose(found, reference(QUIET[name]), rtol=0, atol=ON_SPEECH)


@pytest.mark.parametrize("name", FULL_SCALE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_mel_equals_librosas_at_full_scale(name: str, dtype: torch.dtype) -> None:
    found = compute(LogMel().to(dtype), FULL_SCALE[name], dtype)
    np.testing.assert_allclose(found, reference(FULL_SCALE[name]), rtol=0, atol=ON_FULL_SCALE)


@pytest.mark.parametrize(
    ("rate", "bands", "window_ms", "hop_ms", "low", "high"),
    [
        (8_000, 20, 25.0, 12.5, 0.0, 4_000.0),
        (16_000, 80, 40.0, 20.0, 0.0, 8_000.0),
        (16_000, 40, 30.0, 30.0, 60.0, 7_000.0),
        (22_050, 40, 30.0, 10.0, 20.0, 11_025.0),
        (48_000, 64, 25.0, 10.0, 20.0, 20_000.0),
    ],
)
def test_settings(rate: int, bands: int, window_ms: float, hop_ms: float, low: float, high: float) -> None:
    module = LogMel(rate, bands=bands, window_ms=window_ms, hop_ms=hop_ms, low_hz=low, high_hz=high)
    waveform = speech_like(rate)
    found = compute(module, waveform, torch.float32)
    wanted = reference(waveform, rate, bands=bands, window=module.window, hop=module.hop, low=low, high=high)
    assert found.shape == wanted.shape == (bands, module.frames(rate))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ON_SPEECH)


@pytest.mark.parametrize("samples", [0, 479, 480, 639, 640, 16_000])
def test_frames_returns_the_number_of_frames_of_forward(samples: int) -> None:
    module = LogMel()
    if samples < module.window:
        assert module.frames(samples) == 0
    else:
        assert module(torch.zeros(1, samples)).shape == (1, 40, module.frames(samples))


def test_the_exported_graph_agrees_with_the_fft(
    exported: tuple[onnx.ModelProto, onnxruntime.InferenceSession],
) -> None:
    for signals, tolerance in ((QUIET, ON_SPEECH), (FULL_SCALE, ON_FULL_SCALE)):
        waveforms = np.stack(list(signals.values())).astype(np.float32)
        (found,) = exported[1].run(None, {"waveform": waveforms})
        np.testing.assert_allclose(found, LogMel()(torch.from_numpy(waveforms)).numpy(), rtol=0, atol=tolerance)
        wanted = np.stack([reference(waveform) for waveform in signals.values()])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def test_the_exported_graph_has_only_plain_operators(
    exported: tuple[onnx.ModelProto, onnxruntime.InferenceSession],
) -> None:
    operators = {node.op_type for node in exported[0].graph.node}
    assert "MatMul" in operators
    assert not operators & {"DFT", "STFT", "MelWeightMatrix", "Loop", "If", "Scan"}
    assert {node.domain for node in exported[0].graph.node} <= {"", "ai.onnx"}


def test_a_captured_graph_uses_matrix_products() -> None:
    program = torch.export.export(LogMel(), (torch.zeros(2, RATE),))
    assert not [node for node in program.graph.nodes if "fft" in str(node.target)]


def test_gradients_reach_the_waveform() -> None:
    waveform = torch.full((1, 480), 0.1, requires_grad=True)
    LogMel()(waveform).sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_ms": 0.0}, "hop_ms=0.0 must be greater than 0"),
        ({"hop_ms": 40.0}, "at most window_ms=30.0"),
        ({"window_ms": 0.0}, "hop_ms"),
        ({"low_hz": -1.0}, "from -1.0 to"),
        ({"low_hz": 5000.0, "high_hz": 4000.0}, "from 5000.0 to 4000.0 Hz"),
        ({"high_hz": 8001.0}, "do not fit a sample rate of 16000 Hz"),
        ({"bands": 0}, "both must be greater than 0"),
        ({"sample_rate": 0}, "both must be greater than 0"),
        ({"bands": 200}, "200 bands are too many"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(HarkenError, match=message):
        LogMel(**settings)  # type: ignore[arg-type]


def test_raw_waveform_has_one_band_and_a_frame_per_sample() -> None:
    waveform = torch.randn(3, 50)
    module = RawWaveform()
    assert torch.equal(module(waveform), waveform[:, None])
    assert (module.bands, module.frames(50)) == (1, 50)


def test_build_front_end_by_kind() -> None:
    assert isinstance(build_front_end("raw", 8_000, bands=40), RawWaveform)
    assert build_front_end("log_mel", 8_000, bands=20).bands == 20


def test_an_unknown_front_end_is_refused() -> None:
    with pytest.raises(HarkenError, match="no front-end 'mfcc': choose log_mel, speech_mel or raw"):
        build_front_end("mfcc", 16_000)
