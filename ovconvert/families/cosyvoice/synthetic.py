"""Checkpoints with seeded random weights in the published layout: tiny for tests, full for honest timing.

They speak no language. What they share with a published checkpoint is every key, shape and dtype of its three state dicts.
For the two networks that come as ONNX files there are small ones that take and give the same: a matrix each.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovconvert.checkpoint import construct
from ovconvert.errors import UsageError
from ovconvert.families.cosyvoice import layout, parts
from ovconvert.families.cosyvoice.sizes import SIZES, SPEAKER, Sizes

if TYPE_CHECKING:
    import torch

VARIANT = "1"
SPEAKERS = ("first", "second")
FBANK, BANDS = 80, 128  # what the speaker encoder, and the speech tokenizer, hear of a frame
WEIGHTS: dict[str, Callable[[Sizes], tuple[int, int]]] = {  # shapes of the matrices in place of the ONNX files
    "speaker_encoder": lambda sizes: (FBANK, SPEAKER),
    "speech_tokenizer": lambda sizes: (sizes.codes, BANDS),
}
PLAIN = ("source_downs.", "m_source.", "f0_predictor.classifier.")  # of the vocoder's file: stored without weight norm
# Random attention adds little to a residual stream that was scaled by the square root of its width, and random vocoders
# clip: without these factors a fault would hide.
SCALED = {
    "*.self_attn.linear_q.weight": 3.0,
    "*.self_attn.linear_out.weight": 4.0,
    "resblocks.*.convs2.*.weight_g": 0.1,
    "source_resblocks.*.convs2.*.weight_g": 0.1,
    "conv_post.weight_g": 0.1,
}


def make_checkpoint(dest: Path, *, size: str, seed: int, variant: str = "") -> None:
    """Write a checkpoint directory of `size` (tiny or full) with weights drawn from `seed`.

    The same arguments give the same tensors on any machine. Raises UsageError for a size or variant that does not exist.
    """
    import torch

    for what, given, allowed in (("size", size, tuple(SIZES)), ("variant", variant or VARIANT, (VARIANT,))):
        if given not in allowed:
            raise UsageError(f"no {what} {given!r}; have: {', '.join(allowed)}")
    sizes = SIZES[size]
    dest.mkdir(parents=True, exist_ok=True)
    for name, shapes in stored_shapes(sizes).items():
        state = {key: _draw(name, key, shape, sizes, seed) for key, shape in shapes.items()}
        torch.save(state, dest / f"{name}.pt")
    speakers = {who: {"embedding": _draw("speakers", who, (1, SPEAKER), sizes, seed)} for who in SPEAKERS}
    torch.save(speakers, dest / layout.SPEAKERS)
    (dest / layout.CONFIG).write_text(_config(sizes), encoding="utf-8")
    _stand_ins(dest, sizes, seed)
    ranks = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(_tokens(sizes.ranks)))
    (dest / layout.TOKENIZER).write_text("".join(ranks), encoding="ascii")


def _tokens(count: int) -> Iterator[bytes]:
    """Yield the tokens of a vocabulary that merges nothing sensible: every byte, then pairs of bytes."""
    for rank in range(count):
        pair = rank - 256
        yield bytes([rank]) if pair < 0 else bytes([pair // 256, pair % 256])


def _stand_ins(dest: Path, sizes: Sizes, seed: int) -> None:
    """Write an ONNX file in place of each published one: mean of the frames to a speaker, every second frame to a token."""
    import onnx
    from onnx import helper, numpy_helper

    def write(name: str, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], output: str, kind: int) -> None:
        weight = _draw("graphs", name, WEIGHTS[name](sizes), sizes, seed).numpy()
        stored = [numpy_helper.from_array(weight, "weight")]
        stored += [numpy_helper.from_array(np.array([value], np.int32), f"int{value}") for value in (0, 2)]
        made = [helper.make_tensor_value_info(output, kind, None)]
        graph = helper.make_graph(nodes, "stand-in", inputs, made, stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, dest / layout.GRAPHS[name])

    single, integer = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    write(
        "speaker_encoder",
        [
            helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["mean", "weight"], ["output"]),
        ],
        [helper.make_tensor_value_info("input", single, ["B", "T", FBANK])],
        "output",
        single,
    )
    write(
        "speech_tokenizer",
        [
            helper.make_node("Slice", ["feats", "int0", "feats_length", "int2", "int2"], ["half"]),
            helper.make_node("MatMul", ["weight", "half"], ["scores"]),
            helper.make_node("ArgMax", ["scores"], ["found"], axis=1),
            helper.make_node("Cast", ["found"], ["indices"], to=integer),
        ],
        [
            helper.make_tensor_value_info("feats", single, [1, BANDS, "T"]),
            helper.make_tensor_value_info("feats_length", integer, [1]),
        ],
        "indices",
        integer,
    )


def stored_shapes(sizes: Sizes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shape of every tensor of the three files, by the names under which they are stored."""
    stored: dict[str, dict[str, tuple[int, ...]]] = {name: {} for name in layout.STATE_DICTS}
    configs = sizes.configs()
    for part in parts.PARTS:
        module = construct(partial(part.network, configs[part.name]))
        for key, parameter in module.state_dict().items():
            for state, start, instead in part.reads:
                if key.startswith(instead):
                    stored[state][start + key.removeprefix(instead)] = tuple(parameter.shape)
    stored["hift"] = _unfolded(stored["hift"])
    return stored


def _unfolded(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes with a magnitude and a direction in place of every weight-normed tensor."""
    found: dict[str, tuple[int, ...]] = {}
    for key, shape in shapes.items():
        if len(shape) == 3 and not key.startswith(PLAIN):
            found |= {f"{key}_g": (shape[0], 1, 1), f"{key}_v": shape}
        else:
            found[key] = shape
    return found


def _draw(name: str, key: str, shape: tuple[int, ...], sizes: Sizes, seed: int) -> torch.Tensor:
    """Return the random tensor of a key: unit gains, small biases, weights that keep the variance of their input."""
    import torch

    rng = np.random.Generator(np.random.Philox((seed << 32) | zlib.crc32(f"{name}/{key}".encode())))
    values: np.ndarray = rng.standard_normal(shape, dtype=np.float32)
    if key.endswith((".weight_g", ".alpha")) or (key.endswith(".weight") and len(shape) == 1):
        values = 1.0 + 0.1 * np.abs(values)
    elif len(shape) == 1:
        values *= 0.02
    elif "embedding" in key:
        values *= 0.1
    elif name in layout.STATE_DICTS:
        values /= np.float32(math.sqrt(math.prod(shape[1:])))
    for pattern, factor in SCALED.items():
        if fnmatchcase(key, pattern):
            values *= np.float32(factor)
    if key == "llm_decoder.bias":
        values[-1] += sizes.stop_bias
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _config(sizes: Sizes) -> str:
    """Return the settings file, with the published keys that a converter reads and the published kind of tags."""
    configs = sizes.configs()
    estimator, vocoder, source = (configs[name] for name in ("flow_estimator", "vocoder", "harmonic_source"))
    return f"""# seeded weights
sample_rate: {source.sample_rate}
text_encoder_input_size: {sizes.text_inputs}
llm_input_size: {sizes.width}
llm_output_size: {sizes.width}
spk_embed_dim: {SPEAKER}

llm: !new:cosyvoice.llm.llm.TransformerLM
    text_token_size: {sizes.text_tokens}
    speech_token_size: {sizes.codes}
    spk_embed_dim: !ref <spk_embed_dim>
    sampling: !name:cosyvoice.utils.common.ras_sampling
        top_p: 0.8
        top_k: 25
        win_size: 10
        tau_r: 0.1

flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    vocab_size: {sizes.codes}
    input_frame_rate: 50
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        cfm_params: !new:omegaconf.DictConfig
            content:
                t_scheduler: 'cosine'
                inference_cfg_rate: 0.7
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: {estimator.inputs}
            out_channels: {estimator.mel}
            channels: {list(estimator.channels)}
            attention_head_dim: {estimator.head_dim}
            n_blocks: {estimator.transformers}
            num_mid_blocks: {estimator.middle}
            num_heads: {estimator.heads}

hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    nb_harmonics: {source.harmonics - 1}
    sampling_rate: !ref <sample_rate>
    nsf_alpha: {source.amplitude}
    nsf_sigma: {source.noise}
    nsf_voiced_threshold: {source.threshold}
    upsample_rates: {list(vocoder.rates)}
    upsample_kernel_sizes: {list(vocoder.kernels)}
    istft_params:
        n_fft: {vocoder.fft}
        hop_len: {vocoder.fft_hop}
    resblock_dilation_sizes: {[list(vocoder.dilations)] * 3}
    lrelu_slope: {vocoder.slope}
    audio_limit: {vocoder.limit}
"""
