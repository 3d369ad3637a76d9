"""The flow model that fills in a mel, beside the same formulas in plain NumPy float64: there are no golden vectors of it.

The reference here was written from the papers and from the published names of the tensors, frame by frame and head by head,
and shares nothing with the networks but a state dict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from ovconvert.networks.character_embedding import CharacterEmbedding, CharacterEmbeddingConfig
from ovconvert.networks.infilling_dit import GuidedInfilling, InfillingDiT, InfillingDiTConfig
from ovconvert.networks.vocos import Vocos, VocosConfig

LIMIT = 1e-5  # of the loudest value; float32 against float64 reached 2.3e-6
State = Mapping[str, np.ndarray]

TEXT = CharacterEmbeddingConfig(symbols=11, width=12, inner=20, blocks=2)
VOCODER = VocosConfig(mel=5, width=16, inner=24, blocks=2, fft=32, hop=8)


def estimator_config(rotary_heads: int) -> InfillingDiTConfig:
    return InfillingDiTConfig(
        mel=6, text=12, width=32, depth=2, heads=4, rotary_heads=rotary_heads, inner=40, frequencies=16, groups=16, kernel=5
    )


def drawn(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Fill every tensor with numbers that leave nothing as it would be by default."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=generator) / math.sqrt(max(math.prod(value.shape[1:]), 4)))
    return module.eval()


def doubles(module: torch.nn.Module) -> State:
    return {key: value.double().numpy() for key, value in module.state_dict().items()}


def distance(found: torch.Tensor, wanted: np.ndarray) -> float:
    """Return the greatest difference, relative to the loudest value."""
    assert tuple(found.shape) == wanted.shape
    return float(np.abs(found.numpy() - wanted).max() / np.abs(wanted).max())


# The reference ------------------------------------------------------------------------------------------------------------


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def normed(x: np.ndarray) -> np.ndarray:
    return np.stack([(row - row.mean()) / math.sqrt(((row - row.mean()) ** 2).mean() + 1e-6) for row in x])


def layer_norm(state: State, name: str, x: np.ndarray) -> np.ndarray:
    return normed(x) * state[f"{name}.weight"] + state[f"{name}.bias"]


def convolved(state: State, name: str, x: np.ndarray) -> np.ndarray:
    """Convolve x (T, channels) over time, zeros beyond its ends; the groups follow from the shapes."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    outputs, width, kernel = weight.shape
    share = outputs // (x.shape[1] // width)
    result = np.zeros((len(x), outputs))
    for frame in range(len(x)):
        for output in range(outputs):
            first = output // share * width
            for tap in range(kernel):
                at = frame + tap - kernel // 2
                if 0 <= at < len(x):
                    result[frame, output] += weight[output, :, tap] @ x[at, first : first + width]
    return result + bias


def each(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(function)


gelu = each(lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))))
gelu_tanh = each(lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
silu = each(lambda x: x / (1 + math.exp(-x)))
mish = each(lambda x: x * math.tanh(math.log1p(math.exp(x))))


def convnext(state: State, name: str, x: np.ndarray) -> np.ndarray:
    h = layer_norm(state, f"{name}.norm", convolved(state, f"{name}.dwconv", x))
    h = gelu(linear(state, f"{name}.pwconv1", h))
    if f"{name}.grn.gamma" in state:
        strength = np.array([np.linalg.norm(h[:, channel]) for channel in range(h.shape[1])])
        h = state[f"{name}.grn.gamma"][0] * h * (strength / (strength.mean() + 1e-6)) + state[f"{name}.grn.beta"][0] + h
    return x + linear(state, f"{name}.pwconv2", h) * state.get(f"{name}.gamma", 1.0)


def text_states(state: State, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return (T, width) of ids (T,)."""
    h = np.array([state["text_embed.weight"][symbol] for symbol in ids])
    half = h.shape[1] // 2
    for frame in range(len(h)):
        for index in range(half):
            angle = min(frame, 4095) / 10000 ** (2 * index / h.shape[1])
            h[frame, index] += math.cos(angle)
            h[frame, half + index] += math.sin(angle)
    h[mask == 0] = 0
    for block in range(TEXT.blocks):
        h = convnext(state, f"text_blocks.{block}", h)
        h[mask == 0] = 0
    return h


def attended(state: State, name: str, x: np.ndarray, heads: int, rotary_heads: int) -> np.ndarray:
    size = x.shape[1] // heads
    query, key, value = (linear(state, f"{name}.to_{part}", x).reshape(len(x), heads, size) for part in "qkv")
    for turned in (query, key):
        for frame in range(len(x)):
            for head in range(rotary_heads):
                for pair in range(size // 2):
                    number = complex(*turned[frame, head, 2 * pair : 2 * pair + 2])
                    number *= np.exp(1j * frame / 10000 ** (2 * pair / size))
                    turned[frame, head, 2 * pair : 2 * pair + 2] = number.real, number.imag
    result = np.zeros_like(x)
    for head in range(heads):
        scores = np.exp(query[:, head] @ key[:, head].T / math.sqrt(size))
        result[:, head * size : (head + 1) * size] = scores / scores.sum(1, keepdims=True) @ value[:, head]
    return linear(state, f"{name}.to_out.0", result)


def velocity(
    state: State, config: InfillingDiTConfig, x: np.ndarray, cond: np.ndarray, text: np.ndarray, t: float
) -> np.ndarray:
    """Return (mel, T) of x and cond (mel, T) and text (T, width)."""
    half = config.frequencies // 2
    angles = [1000 * t * math.exp(-math.log(10000) * index / (half - 1)) for index in range(half)]
    time = np.array([[math.sin(a) for a in angles] + [math.cos(a) for a in angles]])
    time = linear(state, "time_embed.time_mlp.2", silu(linear(state, "time_embed.time_mlp.0", time)))
    h = linear(state, "input_embed.proj", np.concatenate([x.T, cond.T, text], 1))
    near = h
    for layer in (0, 2):
        near = mish(convolved(state, f"input_embed.conv_pos_embed.conv1d.{layer}", near))
    h = h + near
    for index in range(config.depth):
        name = f"transformer_blocks.{index}"
        parts = linear(state, f"{name}.attn_norm.linear", silu(time)).reshape(6, -1)
        mixed = attended(state, f"{name}.attn", normed(h) * (1 + parts[1]) + parts[0], config.heads, config.rotary_heads)
        h = h + parts[2] * mixed
        inner = gelu_tanh(linear(state, f"{name}.ff.ff.0.0", normed(h) * (1 + parts[4]) + parts[3]))
        h = h + parts[5] * linear(state, f"{name}.ff.ff.2", inner)
    scale, shift = linear(state, "norm_out.linear", silu(time)).reshape(2, -1)
    return linear(state, "proj_out", normed(h) * (1 + scale) + shift).T


def waveform(state: State, config: VocosConfig, mel: np.ndarray) -> np.ndarray:
    """Return (hop * (frames - 1),) of mel (bands, frames), by an inverse FFT of every frame and their weighted overlap."""
    h = layer_norm(state, "backbone.norm", convolved(state, "backbone.embed", mel.T))
    for block in range(config.blocks):
        h = convnext(state, f"backbone.convnext.{block}", h)
    spectrum = linear(state, "head.out", layer_norm(state, "backbone.final_layer_norm", h))
    bins = config.fft // 2 + 1
    window = np.sin(np.pi * np.arange(config.fft) / config.fft) ** 2
    signal, weight = np.zeros((2, config.hop * (len(h) - 1) + config.fft))
    for frame, row in enumerate(spectrum):
        numbers = np.minimum(np.exp(row[:bins]), 100.0) * np.exp(1j * row[bins:])
        place = slice(frame * config.hop, frame * config.hop + config.fft)
        signal[place] += np.fft.irfft(numbers) * window
        weight[place] += window**2
    edge = config.fft // 2
    return signal[edge:-edge] / weight[edge:-edge]


# The networks beside it ---------------------------------------------------------------------------------------------------


def embedded(module: torch.nn.Module, ids: np.ndarray, mask: np.ndarray) -> torch.Tensor:
    return module(torch.from_numpy(ids[None]), torch.from_numpy(mask[None]))[0]


@pytest.mark.parametrize("frames", [1, 6, 41])
@pytest.mark.parametrize("masked", [True, False])
def test_text_embedding(frames: int, masked: bool) -> None:
    module = drawn(CharacterEmbedding(TEXT))
    ids = np.random.default_rng(frames).integers(0, TEXT.symbols, frames)
    mask = (np.arange(frames) < (frames + 1) // 2 if masked else np.ones(frames)).astype(np.int64)
    wanted = text_states(doubles(module), ids, mask)
    assert distance(embedded(module, ids, mask), wanted) < LIMIT
    if frames > 1:
        assert distance(embedded(module, ids, 1 - mask if masked else mask * 0 + (ids > 4)), wanted) > LIMIT


def test_text_behind_the_last_position_has_that_position() -> None:
    module = drawn(CharacterEmbedding(CharacterEmbeddingConfig(symbols=3, width=4, inner=4, blocks=1)))
    with torch.no_grad():
        module.text_blocks[0].pwconv2.weight.zero_()
    found = embedded(module, np.ones(4100, np.int64), np.ones(4100, np.int64))
    assert torch.equal(found[4095:], found[4095].expand(5, -1))
    assert not torch.allclose(found[4094], found[4095])


@pytest.mark.parametrize(("frames", "rotary_heads"), [(1, 4), (7, 4), (23, 4), (9, 1)])
def test_estimator(frames: int, rotary_heads: int) -> None:
    config = estimator_config(rotary_heads)
    module = drawn(InfillingDiT(config))
    rng = np.random.default_rng(frames)
    x, cond = rng.standard_normal((2, config.mel, frames))
    text = rng.standard_normal((frames, config.text))
    for t in (0.0, 0.37):
        given = [torch.from_numpy(value[None]).float() for value in (x, cond, text)]
        found = module(*given, torch.tensor([t]))[0]
        assert distance(found, velocity(doubles(module), config, x, cond, text, t)) < LIMIT
        assert distance(found, velocity(doubles(module), config, x, cond, text, t + 1e-3)) > LIMIT
    if frames > 1:
        other = estimator_config(5 - rotary_heads)  # what is turned matters
        assert distance(found, velocity(doubles(module), other, x, cond, text, t)) > LIMIT


def test_guidance() -> None:
    """Two rows of two branches: the weights mix f with and without the known mel, each with the text of its branch."""
    config = estimator_config(4)
    module = drawn(GuidedInfilling(config))
    state = {key.removeprefix("estimator."): value for key, value in doubles(module).items()}
    rng = np.random.default_rng(3)
    x, cond = rng.standard_normal((2, config.mel, 8))
    text = rng.standard_normal((2, 8, config.text))
    with_it = velocity(state, config, x, cond, text[0], 0.5)
    without = velocity(state, config, x, 0 * cond, text[1], 0.5)
    inputs = (x[None], cond[None], text, np.array([0.5]), np.array([1.0, 0.0]), np.array([[3.0, -2.0], [1.0, -1.0]]))
    found = module(*(torch.from_numpy(value).float() for value in inputs))
    wanted = np.stack([3 * with_it - 2 * without, with_it - without])
    assert distance(found, wanted) < LIMIT
    assert distance(found, wanted[::-1]) > LIMIT


@pytest.mark.parametrize("frames", [2, 5, 30])
def test_vocoder(frames: int) -> None:
    module = drawn(Vocos(VOCODER))
    mel = np.random.default_rng(frames).standard_normal((VOCODER.mel, frames))
    found = module(torch.from_numpy(mel[None]).float())[0, 0]
    state = doubles(module)
    assert distance(found, waveform(state, VOCODER, mel)) < LIMIT
    changed = dict(state) | {"backbone.convnext.1.gamma": state["backbone.convnext.1.gamma"] * 1.001}
    assert distance(found, waveform(changed, VOCODER, mel)) > LIMIT


def test_a_loud_spectrum_is_cut() -> None:
    module = drawn(Vocos(VOCODER))
    module.head.out.bias[: VOCODER.fft // 2 + 1] += 50.0
    mel = np.ones((VOCODER.mel, 9))
    found = module(torch.from_numpy(mel[None]).float())[0, 0]
    assert distance(found, waveform(doubles(module), VOCODER, mel)) < LIMIT
    assert float(found.abs().max()) < 1000
