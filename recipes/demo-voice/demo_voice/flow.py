"""The flow: codes and latents to mel, in the voice of a prompt (conditional flow matching, as in spec section 13).

x_t = (1 - t) noise + t mel, and the estimator learns the velocity mel - noise. Linears of the regulated content must
predict the mel and the pitch too, which teaches projector and regulator long before the estimator is any good; no inference
reads them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from demo_voice import pitch, speaker
from demo_voice.batches import bucket
from demo_voice.corpus import STYLES
from demo_voice.data import MEL, Corpus
from demo_voice.initialise import initialise
from demo_voice.language_model import compute_latents
from demo_voice.references import CALM, References
from demo_voice.semantic import MEL_MEAN, MEL_SPREAD, Codec, compute_codes
from demo_voice.sizes import ESTIMATOR, PROJECTOR, REGULATOR, STYLE
from demo_voice.training import Training, trained, update
from ovconvert.networks.campplus import CamPlus
from ovconvert.networks.dit import DiT
from ovconvert.networks.latent_projector import LatentProjector
from ovconvert.networks.length_regulator import LengthRegulator
from ovconvert.runtime.resize import nearest_index

RATIO = 1.25  # mel frames per code
MEL_STEP = MEL["hop_length"] / MEL["sample_rate"]  # seconds
PROMPT_CODES = (40, 140)
UNCONDITIONED = 0.1  # share of examples without prompt, style and content, for guidance
UTTERANCES = 5000  # of the corpus; states and vectors of all of it would take longer to compute than they are worth
STYLE_FRAMES = 160  # of 10 ms: more tells the speaker encoder little
AVERAGING = 0.998  # of the weights, per step


class Flow(nn.Module):
    """The networks of s2mel.pth, and the heads for mel and pitch."""

    def __init__(self) -> None:
        super().__init__()
        self.projector = LatentProjector(PROJECTOR)
        self.regulator = LengthRegulator(REGULATOR)
        self.estimator = DiT(ESTIMATOR)
        self.mel = nn.Linear(REGULATOR.outputs, ESTIMATOR.mel)
        self.pitch = nn.Linear(REGULATOR.outputs, 1)


def train(work: Path, steps: int, seed: int = 0, size: int = 8) -> None:
    """Train projector, regulator and estimator on the finished codes and latents."""
    corpus = Corpus(work)
    corpus.training = corpus.training[:UTTERANCES]
    codes, latents, styles = compute_codes(work), compute_latents(work, len(corpus.training)), compute_styles(work)
    mels, contours, references = corpus.front_end("mel"), corpus.front_end("pitch"), References(corpus)
    lengths = np.array([len(row) for row in codes])
    torch.manual_seed(seed)
    model = Flow()
    initialise(model, 0.05)
    nn.init.constant_(model.estimator.conv2.bias, MEL_MEAN)
    codec = Codec()
    codec.load_state_dict(trained(work, "codec", "model"))
    quantizer = codec.into.quantizer.quantizers[0]
    model.projector.quantizer.quantizers[0].load_state_dict(
        {key: value for key, value in quantizer.state_dict().items() if not key.startswith("in_project")}
    )
    model.projector.quantizer.requires_grad_(False)
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=_average)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], 1.5e-3, betas=(0.9, 0.98), weight_decay=0.01
    )
    run = Training(work, "flow", steps, {"model": model, "average": average}, {"adamw": optimizer}, seed)
    for _ in run.steps():
        rng = run.rng()
        chosen = bucket(corpus.training, lengths, size, rng)
        count = int(min(lengths[n] for n in chosen))
        heard = int(rng.integers(*PROMPT_CODES))
        rows: dict[str, list[np.ndarray]] = {
            key: [] for key in ("codes", "latents", "mel", "pitch", "prompt_codes", "prompt", "style")
        }
        for number in chosen:
            own, given, mel, first = _stretch(number, count, codes, mels, rng)
            rows["codes"].append(own)
            rows["latents"].append(latents[number][given : given + count])
            rows["mel"].append(mel)
            rows["pitch"].append(pitch.at(contours[number], MEL_STEP * (first + 0.5 + np.arange(len(mel)))))
            style = CALM if rng.random() < 0.5 else int(rng.integers(0, len(STYLES)))
            other = references.numbers(int(corpus.speakers[number]), style, lengths, heard, rng)
            content, _, mel, _ = _stretch(other[int(np.argmax(lengths[other]))], heard, codes, mels, rng)
            rows["prompt_codes"].append(content)
            rows["prompt"].append(mel)
            rows["style"].append(styles[other[0]])
        heard = min(len(row) for row in rows["prompt_codes"])
        rows["prompt_codes"] = [row[:heard] for row in rows["prompt_codes"]]
        rows["prompt"] = [row[: int(heard * RATIO)] for row in rows["prompt"]]
        batch = {key: torch.from_numpy(np.stack(found)) for key, found in rows.items()}
        velocity, prior, tone = _losses(model, batch, rng)
        update(optimizer, velocity + 0.3 * (prior + tone))
        average.update_parameters(model)
        run.log(velocity=velocity, prior=prior, pitch=tone)


def _losses(model: Flow, batch: dict[str, Tensor], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean squared error of the velocity and the mean errors of mel and pitch from the content.

    Those of velocity and mel are in mel spreads.
    """
    mel, prompt = batch["mel"], batch["prompt"]
    content = model.projector(batch["latents"], batch["codes"])
    condition = model.regulator(content, _index(content.shape[1], mel.shape[1]))
    heard = model.projector.quantizer.quantizers[0].lookup(batch["prompt_codes"])
    prompted = model.regulator(heard, _index(heard.shape[1], prompt.shape[1]))
    prior = (model.mel(condition) * MEL_SPREAD + MEL_MEAN - mel).abs().mean() / MEL_SPREAD
    tone = pitch.error(model.pitch(condition)[:, :, 0], batch["pitch"])
    keep = torch.from_numpy((rng.random(len(mel)) >= UNCONDITIONED).astype(np.float32))[:, None, None]
    t = torch.from_numpy(rng.random(len(mel), dtype=np.float32))
    noise = torch.randn_like(mel)
    place = t[:, None, None]
    silent = torch.zeros_like(prompt)
    x = torch.cat([silent, (1 - place) * noise + place * mel], 1).transpose(1, 2)
    shown = torch.cat([prompt, torch.zeros_like(mel)], 1).transpose(1, 2)
    mu = torch.cat([prompted, condition], 1)
    found = model.estimator(x, shown * keep, t, batch["style"] * keep[:, :, 0], mu * keep)
    error = (found[:, :, prompt.shape[1] :].transpose(1, 2) - (mel - noise)) / MEL_SPREAD
    return error.square().mean(), prior, tone


def _stretch(
    number: int, count: int, codes: list[np.ndarray], mels: object, rng: np.random.Generator
) -> tuple[np.ndarray, int, np.ndarray, int]:
    """Return `count` codes of an utterance (fewer if it is shorter) and the first one's number, then their mel (frames, 80)
    and the first frame's."""
    row = codes[number]
    count = min(count, len(row))
    start = int(rng.integers(0, len(row) - count + 1))
    mel: np.ndarray = mels[number]  # type: ignore[index]
    frames = int(count * RATIO)
    first = min(round(start * RATIO), max(len(mel) - frames, 0))
    return row[start : start + count], start, mel[first : first + frames], first


def _index(codes: int, frames: int) -> Tensor:
    return torch.from_numpy(nearest_index(codes, frames))


def _average(averaged: Tensor, current: Tensor, count: Tensor) -> Tensor:
    """Follow the weights quickly at first, then slowly."""
    keep = min(AVERAGING, (1 + int(count)) / (10 + int(count)))
    return averaged * keep + current * (1 - keep)


@torch.no_grad()
def compute_styles(work: Path) -> np.ndarray:
    """Return the speaker encoder's vectors (utterances, 192) of the first training utterances, kept on disk."""
    path = work / "speaker" / "styles.npy"
    if not path.is_file():
        corpus = Corpus(work)
        fbank = corpus.front_end("fbank")
        model = CamPlus(speaker.CONFIG)
        model.load_state_dict(speaker.weights(work))
        model.eval()
        heard = (torch.from_numpy(fbank[number][:STYLE_FRAMES])[None] for number in corpus.training[:UTTERANCES])
        rows = [model(frames - frames.mean(1, keepdim=True))[0].numpy() for frames in heard]
        np.save(path, np.stack(rows))
    found: np.ndarray = np.load(path)
    if found.shape[1] != STYLE:
        raise ValueError(f"{path} has {found.shape[1]} columns, {STYLE} are wanted")
    return found


def load(work: Path) -> Flow:
    """Return the averaged weights."""
    model = Flow()
    stored = trained(work, "flow", "average")
    model.load_state_dict({key.removeprefix("module."): value for key, value in stored.items() if key.startswith("module.")})
    return model.eval()
