"""What the two settings files say that no tensor's shape tells, and what of it must be so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ARCH, MEL = "model.arch", "model.mel_spec"
# (file, key, values that are understood): a checkpoint with others computes something else
UNDERSTOOD: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("model", "model.backbone", ("DiT",)),
    ("model", f"{ARCH}.qk_norm", (None,)),
    ("model", f"{ARCH}.text_embedding_average_upsampling", (None, False)),
    ("model", f"{ARCH}.long_skip_connection", (None, False)),
    ("model", f"{MEL}.mel_spec_type", ("vocos",)),
    ("vocoder", "head.class_path", ("vocos.heads.ISTFTHead",)),
    ("vocoder", "head.init_args.padding", ("center",)),
    ("vocoder", "feature_extractor.init_args.padding", ("center",)),
)
# that the two models speak of the same mel
SHARED = (
    ("target_sample_rate", "feature_extractor.init_args.sample_rate"),
    ("n_mel_channels", "backbone.init_args.input_channels"),
    ("hop_length", "head.init_args.hop_length"),
    ("n_fft", "head.init_args.n_fft"),
    ("win_length", "head.init_args.n_fft"),
)


@dataclass(frozen=True)
class Settings:
    """What networks and runtime need. `text_masked`: states of frames without text are zero, as in the second version."""

    heads: int
    rotary_heads: int
    text_masked: bool
    sample_rate: int
    bands: int
    hop_length: int
    fft: int


def lookup(settings: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a dotted path, None if nothing does."""
    found: Any = settings
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def read_settings(model: Mapping[str, Any], vocoder: Mapping[str, Any], problems: list[str]) -> Settings | None:
    """Return the settings of both files; None, and all that is wrong added to `problems`, if they cannot be used."""
    before = len(problems)
    files = {"model": model, "vocoder": vocoder}
    for file, key, allowed in UNDERSTOOD:
        if lookup(files[file], key) not in allowed:
            said = ", ".join(repr(value) for value in allowed if value is not None) or "nothing"
            problems.append(f"settings of the {file}: {key} is {lookup(files[file], key)!r}; understood: {said}")
    arch = lookup(model, ARCH)
    arch = arch if isinstance(arch, Mapping) else {}
    # null says something here, so that what is left out is not the same
    for key in ("text_mask_padding", "pe_attn_head"):
        if key not in arch:
            problems.append(f"settings of the model: {ARCH}.{key} is missing; its value leaves no trace in the weights")
    numbers = {key: _number(model, f"{MEL}.{key}", "model", problems) for key, _ in SHARED}
    heads = _number(model, f"{ARCH}.heads", "model", problems)
    for key, theirs in SHARED:
        other = _number(vocoder, theirs, "vocoder", problems)
        if numbers[key] and other and numbers[key] != other:
            problems.append(f"the model's {MEL}.{key} is {numbers[key]}, the vocoder's {theirs} {other}; they must be equal")
    rotary_heads = arch.get("pe_attn_head") or heads
    if not isinstance(rotary_heads, int) or rotary_heads > heads:
        problems.append(f"settings of the model: {ARCH}.pe_attn_head is {rotary_heads!r}; allowed: up to {heads} heads")
    if len(problems) > before:
        return None
    return Settings(
        heads=heads,
        rotary_heads=rotary_heads,
        text_masked=bool(arch["text_mask_padding"]),
        sample_rate=numbers["target_sample_rate"],
        bands=numbers["n_mel_channels"],
        hop_length=numbers["hop_length"],
        fft=numbers["n_fft"],
    )


def _number(settings: Mapping[str, Any], path: str, file: str, problems: list[str]) -> int:
    found = lookup(settings, path)
    if isinstance(found, int) and not isinstance(found, bool) and found > 0:
        return found
    problems.append(f"settings of the {file}: {path} is {found!r}; a whole number above 0 is needed")
    return 0
