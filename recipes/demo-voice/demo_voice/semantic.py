"""The semantic side: w2v-BERT features that know the phone, and a codec whose codes are thirds of phones.

The features learn to tell the third of a phone in which each frame lies, its mel spectrum, its pitch, the speaker and the
style. The
codec's codebook is the classifier of those thirds: a code is the nearest of their prototypes by cosine, which is what the
published quantizer computes. Codes supervised so have little entropy beyond the durations, which a small language model
can learn.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_voice import pitch
from demo_voice.batches import bucket, pad, present
from demo_voice.corpus import SILENCE, SPEAKERS, STYLES, Utterance
from demo_voice.data import Corpus, Frames, write_frames
from demo_voice.initialise import initialise
from demo_voice.sizes import CODEC, SEMANTIC
from demo_voice.training import Training, trained, update
from ovconvert.networks.semantic_codec import SemanticDecoder, SemanticEncoder
from ovconvert.networks.w2v_bert import W2vBert

CENTRE, STEP = 0.0175, 0.02  # seconds: middle of the first frame, and from frame to frame
THIRDS = 3
CROP = 80  # frames of an utterance that one step of the features' training sees
SUPERVISED = (4, 10)  # layers that are asked for the code as well: seventeen in a row learn slowly from the last alone
SHARPNESS = 20.0  # of the softmax over cosines
MEL_MEAN, MEL_SPREAD = -5.0, 2.0  # brings log-mels near zero mean and unit variance


def states(corpus: Corpus) -> list[str]:
    """Return the names of the codes: silence, then three per phone."""
    path = corpus.directory / "states.json"
    if not path.is_file():
        phones = sorted({name for row in corpus.utterances for name, _ in row.phones} - {SILENCE})
        names = [SILENCE, *(f"{phone}{third}" for phone in phones for third in range(THIRDS))]
        path.write_text(json.dumps(names), encoding="utf-8")
    found: list[str] = json.loads(path.read_text(encoding="utf-8"))
    if len(found) > CODEC.codes:
        raise ValueError(f"{len(found)} phone thirds, but the codebook has {CODEC.codes} entries")
    return found


def labels(row: Utterance, frames: int, names: list[str]) -> np.ndarray:
    """Return the code (frames,) int64 that each frame should have, from the phones' times."""
    times = CENTRE + STEP * np.arange(frames)
    ends = np.array([end for _, end in row.phones])
    starts = np.concatenate([[0.0], ends[:-1]])
    which = np.minimum(np.searchsorted(ends, times, side="right"), len(ends) - 1)
    third = (
        ((times - starts[which]) / np.maximum(ends[which] - starts[which], 1e-6) * THIRDS).astype(int).clip(0, THIRDS - 1)
    )
    number = {name: index for index, name in enumerate(names)}
    return np.array(
        [
            number[phone] if phone == SILENCE else number[f"{phone}{part}"]
            for phone, part in ((row.phones[index][0], part) for index, part in zip(which, third, strict=True))
        ],
        np.int64,
    )


class Heads(nn.Module):
    """What the features are asked for in training: the code, the mel, the pitch, the speaker, the style."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.code = nn.Linear(SEMANTIC.width, codes)
        self.early = nn.ModuleList(nn.Linear(SEMANTIC.width, codes) for _ in SUPERVISED)
        self.mel = nn.Linear(SEMANTIC.width, 80)
        self.speaker = nn.Linear(SEMANTIC.width, len(SPEAKERS))
        self.style = nn.Linear(SEMANTIC.width, len(STYLES))
        self.pitch = nn.Linear(SEMANTIC.width, 1)


def mel_at_codes(mel: np.ndarray, frames: int) -> np.ndarray:
    """Return the mel (T, 80) at the times of `frames` codes, near zero mean and unit variance."""
    times = (CENTRE + STEP * np.arange(frames)) / 0.016 - 0.5
    index = np.clip(np.round(times).astype(int), 0, len(mel) - 1)
    return (mel[index] - MEL_MEAN) / MEL_SPREAD


def pitch_at_codes(contour: np.ndarray, frames: int) -> np.ndarray:
    """Return the pitch (frames,) at the times of `frames` codes, not a number where unvoiced."""
    return pitch.at(contour, CENTRE + STEP * np.arange(frames))


def train_features(work: Path, steps: int, seed: int = 0, size: int = 12) -> None:
    """Train the w2v-BERT."""
    corpus = Corpus(work)
    semantic, mel, contours = (corpus.front_end(name) for name in ("semantic", "mel", "pitch"))
    names = states(corpus)
    torch.manual_seed(seed)
    model, heads = W2vBert(SEMANTIC), Heads(len(names))
    initialise(model, 0.08)
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], 3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    run = Training(work, "features", steps, {"model": model, "heads": heads}, {"adamw": optimizer}, seed)
    lengths = np.diff(semantic.ends)
    seen: list[Tensor] = []  # what the supervised layers gave in this step
    for layer in SUPERVISED:
        model.encoder.layers[layer].register_forward_hook(lambda *call: seen.append(call[2]))
    for _ in run.steps():
        rng = run.rng()
        chosen = bucket(corpus.training, lengths, size, rng)
        starts = [int(rng.integers(0, max(1, lengths[n] - CROP + 1))) for n in chosen]
        parts = [slice(start, start + CROP) for start in starts]
        x, mask = _inputs([semantic[n][part] for n, part in zip(chosen, parts, strict=True)])
        every = [labels(corpus.utterances[n], int(lengths[n]), names) for n in chosen]
        wanted = pad([row[part] for row, part in zip(every, parts, strict=True)], -1)
        seen.clear()
        hidden = model(x, mask.long())
        code = F.cross_entropy(heads.code(hidden).flatten(0, 1), wanted.flatten(), ignore_index=-1)
        early = sum(
            F.cross_entropy(head(x).flatten(0, 1), wanted.flatten(), ignore_index=-1)
            for head, x in zip(heads.early, seen, strict=True)
        )
        spectra = [mel_at_codes(mel[n], int(lengths[n])) for n in chosen]
        target = pad([row[part] for row, part in zip(spectra, parts, strict=True)])
        spectrum = (heads.mel(hidden) - target)[mask].abs().mean()
        tones = [pitch_at_codes(contours[n], int(lengths[n]))[part] for n, part in zip(chosen, parts, strict=True)]
        tone = pitch.error(heads.pitch(hidden)[:, :, 0], pad(tones, math.nan))
        mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        speaker = F.cross_entropy(heads.speaker(mean), torch.from_numpy(corpus.speakers[chosen]))
        style = F.cross_entropy(heads.style(mean), torch.from_numpy(corpus.styles[chosen]))
        update(optimizer, code + 0.3 * early + 0.5 * spectrum + 0.5 * tone + 0.2 * speaker + 0.2 * style)
        right = (heads.code(hidden).argmax(-1) == wanted)[mask].float().mean()
        run.log(code=code, accuracy=right, mel=spectrum, pitch=tone, speaker=speaker, style=style)


def compute_features(work: Path) -> Frames:
    """Return the normalised features of every utterance, and keep them and their statistics on disk."""
    path = work / "features" / "features.f16"
    if not path.with_suffix(".json").is_file():
        corpus = Corpus(work)
        semantic = corpus.front_end("semantic")
        model = W2vBert(SEMANTIC)
        model.load_state_dict(trained(work, "features", "model"))
        rows = _hidden(model, semantic, len(corpus.utterances))
        every = np.concatenate([rows[number] for number in corpus.training])
        mean, var = every.mean(0), every.var(0)
        torch.save({"mean": torch.from_numpy(mean), "var": torch.from_numpy(var)}, work / "features" / "statistics.pt")
        write_frames(path, [(row - mean) / np.sqrt(var) for row in rows])
    return Frames(path, SEMANTIC.width)


@torch.no_grad()
def _hidden(model: W2vBert, semantic: Frames, count: int, size: int = 32) -> list[np.ndarray]:
    order = np.argsort([semantic.length(number) for number in range(count)])
    rows: list[np.ndarray] = [np.empty(0)] * count
    for start in range(0, count, size):
        chosen = order[start : start + size]
        x, mask = _inputs([semantic[int(number)] for number in chosen])
        found = model(x, mask.long()).numpy()
        for number, row in zip(chosen, found, strict=True):
            rows[number] = row[: semantic.length(int(number))]
    return rows


def _inputs(rows: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    x = pad(rows)
    return x, present([len(row) for row in rows], x.shape[1])


class Codec(nn.Module):
    """Encoder and decoder under one roof: they share the quantizer."""

    def __init__(self) -> None:
        super().__init__()
        self.into = SemanticEncoder(CODEC)
        self.back = SemanticDecoder(CODEC)
        self.back.quantizer = None  # type: ignore[assignment]

    def cosines(self, features: Tensor) -> Tensor:
        """(B, T, hidden) -> (B, T, codes)."""
        x = features.transpose(1, 2)
        for part in self.into.encoder:
            x = part(x)
        book = self.into.quantizer.quantizers[0]
        z = book.in_project(x.transpose(1, 2)).transpose(1, 2)
        return F.normalize(z, dim=-1) @ F.normalize(book.codebook.weight, dim=-1).t()

    def decode(self, codes: Tensor) -> Tensor:
        """(B, T) -> features (B, T, hidden)."""
        x = self.into.quantizer.quantizers[0].lookup(codes).transpose(1, 2)
        for part in self.back.decoder:
            x = part(x)
        return x


def train_codec(work: Path, steps: int, seed: int = 0, size: int = 16) -> None:
    """Train the codec on the finished features."""
    corpus = Corpus(work)
    features = compute_features(work)
    names = states(corpus)
    torch.manual_seed(seed)
    model = Codec()
    initialise(model, 0.1)
    nn.init.normal_(model.into.quantizer.quantizers[0].codebook.weight)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    run = Training(work, "codec", steps, {"model": model}, {"adamw": optimizer}, seed)
    lengths = np.diff(features.ends)
    for _ in run.steps():
        chosen = bucket(corpus.training, lengths, size, run.rng())
        x, mask = _inputs([features[number] for number in chosen])
        wanted = pad([labels(corpus.utterances[n], int(lengths[n]), names) for n in chosen], -1)
        cosines = model.cosines(x)
        # over all codes: those that no phone owns learn to lie out of the way
        code = F.cross_entropy(SHARPNESS * cosines.flatten(0, 1), wanted.flatten(), ignore_index=-1)
        codes = cosines.argmax(-1)
        direct = model.into.quantizer.quantizers[0].lookup(codes)
        error = (direct - x)[mask].square().mean() + (model.decode(codes) - x)[mask].square().mean()
        update(optimizer, code + 0.1 * error)
        run.log(code=code, accuracy=(codes == wanted)[mask].float().mean(), error=error)


@torch.no_grad()
def compute_codes(work: Path) -> list[np.ndarray]:
    """Return the codes (frames,) int64 of every utterance, kept on disk."""
    path = work / "codec" / "codes.npz"
    if not path.is_file():
        features = compute_features(work)
        model = Codec()
        model.load_state_dict(trained(work, "codec", "model"))
        rows = [
            model.into(torch.from_numpy(features[number])[None])[0][0].numpy() for number in range(len(features.ends) - 1)
        ]
        np.savez(path, codes=np.concatenate(rows), ends=np.cumsum([len(row) for row in rows]))
    found = np.load(path)
    return np.split(found["codes"], found["ends"][:-1])
