"""The vocoder: log-mel to waveform, a small BigVGAN trained on spectra first and against discriminators after."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_voice.activation import activate
from demo_voice.data import MEL, Corpus
from demo_voice.discriminators import Discriminators
from demo_voice.training import Training, trained, update
from ovconvert.networks.bigvgan import BigVgan, BigVganConfig
from ovconvert.runtime.features import mel_basis

CONFIG = BigVganConfig(
    mel=80,
    channels=256,
    rates=(4, 4, 4, 4),
    kernels=(8, 8, 8, 8),
    block_kernels=(3, 7),
    dilations=(1, 3),
    final_bias=False,
    log_scale=True,
    tanh=False,
)
HOP = math.prod(CONFIG.rates)
CONTEXT = (MEL["n_fft"] - HOP) // 2  # samples that the mel of a crop reads beyond either end of it
FRAME, SHIFT = 1024, 128  # samples: a frame whose pulses are compared, and how far it may be moved, half a period of 62 Hz
EMPHASIS = 0.8
MEAN, SPREAD = -5.0, 2.5  # of log-mel values: training sees (mel - MEAN) / SPREAD, the weights are folded in the end


@dataclass(frozen=True)
class Plan:
    """Sizes and weights of a run; `adversarial` is the share of the steps after which the judges join."""

    batch: int = 4
    frames: int = 32  # of a crop
    rate: float = 1e-3
    judge_rate: float = 2e-3
    adversarial: float = 0.35
    degraded: float = 0.3  # share of the items whose mel is blurred and noisy, as a predicted one is
    windows: tuple[int, ...] = (2048, 1024, 512)  # samples; shorter ones tell where a pulse lies
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    judge_windows: tuple[int, ...] = (1024, 512, 256)
    judge_width: int = 8
    asked: int = 4  # judges per step, drawn anew each time: all of them would cost as much as the rest
    spectrum_weight: float = 4.0
    mel_weight: float = 12.0
    pulse_weight: float = 30.0
    judges_weight: float = 8.0  # against the mean of the judges asked
    feature_weight: float = 1.0
    decay: float = 0.999  # of the running mean of the weights
    config: BigVganConfig = field(default=CONFIG)


QUICK = Plan(batch=2, frames=16, windows=(512, 128), periods=(3,), judge_windows=(256,))


def train(work: Path, steps: int, seed: int = 0, plan: Plan = Plan()) -> None:
    """Train for `steps` steps, or go on where a broken run left off; needs the corpus in WORK/corpus."""
    corpus = Corpus(work)
    torch.manual_seed(seed)
    generator = Generator(plan.config)
    mean = copy.deepcopy(generator.network).requires_grad_(False)
    judges = Discriminators(plan.periods, plan.judge_windows, plan.judge_width)
    optimizers = {
        "generator": torch.optim.AdamW(generator.parameters(), lr=plan.rate, betas=(0.8, 0.99)),
        "judges": torch.optim.AdamW(judges.parameters(), lr=plan.judge_rate, betas=(0.8, 0.99)),
    }
    modules = {"generator": generator.network, "mean": mean, "judges": judges}
    training = Training(work, "vocoder", steps, modules, optimizers, seed)
    distance = Distance(plan)
    for step in training.steps():
        wave, mel = _batch(corpus, plan, training.rng())
        spoken = generator(mel)
        spectrum, tone = distance(spoken, wave)
        pulses = misalignment(spoken, wave)
        loss = plan.spectrum_weight * spectrum + plan.mel_weight * tone + plan.pulse_weight * pulses
        losses = {"spectrum": spectrum, "mel": tone, "pulses": pulses}
        if step >= plan.adversarial * steps:
            asked = torch.randperm(len(judges.judges))[: plan.asked].tolist()
            losses["judges"] = _teach(judges, asked, optimizers["judges"], wave, spoken.detach())
            losses["fooled"], losses["features"] = _judge(judges, asked, wave, spoken)
            loss = loss + plan.judges_weight * (losses["fooled"] + plan.feature_weight * losses["features"])
        update(optimizers["generator"], loss, limit=100.0)
        _follow(mean, generator.network, min(plan.decay, (step + 1) / (step + 10)))
        training.log(**{key: value.detach() for key, value in losses.items()})


def weights(work: Path) -> dict[str, Tensor]:
    """Return the weights of a trained `BigVgan(CONFIG)` by its own names: the running mean, the mel's scale folded in."""
    return folded(trained(work, "vocoder", "mean"))


def folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network for mels as they are, from those of a generator, which scales them first."""
    scaled = weights["conv_pre.weight"] / SPREAD
    return {
        **weights,
        "conv_pre.weight": scaled,
        "conv_pre.bias": weights["conv_pre.bias"] - MEAN * scaled.sum(dim=(1, 2)),
    }


class Generator(nn.Module):
    """The network, and its forward as training runs it: (mel (B, 80, T), natural-log) -> wave (B, 1, hop * T), not clipped.

    The activations are computed by `activation`, several times faster than as the network writes them for export.
    """

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        self.network = BigVgan(config)
        taps = _kaiser_sinc()
        for name, parameter in self.network.named_parameters():
            if name.endswith((".alpha", ".beta")):
                nn.init.zeros_(parameter)
        for name, buffer in self.network.named_buffers():
            if name.endswith(".filter"):
                buffer.copy_(taps.view_as(buffer))

    def forward(self, mel: Tensor) -> Tensor:
        network = self.network
        # the network pads the mel itself with zeros
        x = F.pad((mel - MEAN) / SPREAD, (3, 3), value=-MEAN / SPREAD)
        x = F.conv1d(x, network.conv_pre.weight, network.conv_pre.bias)
        parallel = len(network.config.block_kernels)
        for stage, (up,) in enumerate(network.ups):
            x = up(x)
            blocks = [_block(block, x) for block in network.resblocks[parallel * stage : parallel * (stage + 1)]]
            x = sum(blocks[1:], blocks[0]) / parallel
        wave: Tensor = network.conv_post(activate(network.activation_post, x))
        return wave


class Distance:
    """How far a wave is from another: (B, 1, samples) twice -> distance of spectra, and mean difference of log-mels."""

    def __init__(self, plan: Plan) -> None:
        self._windows = [torch.hann_window(size) for size in plan.windows]

    def __call__(self, spoken: Tensor, wave: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros(())
        for window in self._windows:
            found, wanted = _magnitude(spoken[:, 0], window), _magnitude(wave[:, 0], window)
            total = total + (found - wanted).norm() / wanted.norm() + (found.log() - wanted.log()).abs().mean()
        inside = (CONTEXT, CONTEXT)
        found, wanted = (log_mel(F.pad(x, inside, mode="reflect")[:, 0]) for x in (spoken, wave))
        return total / len(self._windows), (found - wanted).abs().mean()


def misalignment(spoken: Tensor, wave: Tensor) -> Tensor:
    """Return 1 less the mean correlation of frames of two waves (B, 1, samples), each at the shift that suits it best.

    A mel says how fast pulses follow each other and not where they lie, so that a distance to the wave as it is would teach
    to smear them; what a mel does determine is the shape of a pulse, and that is what is compared. Loud frames count more.
    """
    spoken, wave = (x[:, 0, 1:] - EMPHASIS * x[:, 0, :-1] for x in (spoken, wave))
    wide = FRAME + 2 * SHIFT
    weight = torch.hann_window(FRAME).square()
    mine = spoken[:, SHIFT:-SHIFT].unfold(-1, FRAME, HOP)
    near = wave.unfold(-1, wide, HOP)
    with torch.no_grad():
        reach = torch.fft.rfft(near) * torch.fft.rfft(mine * weight, wide).conj()
        power = torch.fft.rfft(near.square()) * torch.fft.rfft(weight, wide).conj()
        fit = torch.fft.irfft(reach, wide) * (torch.fft.irfft(power, wide).clamp(min=0) + 1e-6).rsqrt()
        shift = fit[..., : 2 * SHIFT + 1].argmax(-1, keepdim=True)
        theirs = near.gather(-1, shift + torch.arange(FRAME))
        level = (theirs.square() * weight).sum(-1).sqrt()
    alike = (mine * theirs * weight).sum(-1) / (level * ((mine.square() * weight).sum(-1) + 1e-6).sqrt() + 1e-6)
    return 1 - (alike * level).sum() / level.sum()


def log_mel(wave: Tensor) -> Tensor:
    """Return (B, 80, T) of a wave (B, samples) with CONTEXT samples more at each end, as the runner's front end does."""
    size = MEL["n_fft"]
    spectrum = torch.stft(wave, size, HOP, window=torch.hann_window(size), center=False, return_complex=True)
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    basis = torch.from_numpy(mel_basis(MEL["sample_rate"], size, MEL["n_mels"]).astype(np.float32))
    return (basis @ magnitude).clamp(min=1e-5).log()


def _block(block: nn.Module, x: Tensor) -> Tensor:
    for index, (first, second) in enumerate(zip(block.convs1, block.convs2, strict=True)):
        y = first(activate(block.activations[2 * index], x))
        x = x + second(activate(block.activations[2 * index + 1], y))
    return x


def _kaiser_sinc() -> Tensor:
    """Return the twelve taps of the activations' low-pass: cutoff 0.25, transition half-width 0.3."""
    attenuation = 2.285 * 5 * math.pi * 4 * 0.3 + 7.95
    beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    position = np.arange(-6, 6) + 0.5
    response = np.kaiser(12, beta) * np.sinc(0.5 * position)
    return torch.from_numpy((response / response.sum()).astype(np.float32))


def _batch(corpus: Corpus, plan: Plan, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return crops (B, 1, samples) at any place and level, and their log-mels (B, 80, T), some of them degraded."""
    count = plan.frames * HOP
    crops = np.zeros((plan.batch, count + 2 * CONTEXT), np.float32)
    for row, number in enumerate(draw.choice(corpus.training, plan.batch)):
        wave = np.pad(corpus.wave(int(number)), CONTEXT, mode="reflect")
        start = draw.integers(0, max(1, len(wave) - crops.shape[1] + 1))
        crop = wave[start : start + crops.shape[1]] * 10 ** (draw.uniform(-8, 4) / 20)
        crops[row, : len(crop)] = crop / max(1.0, np.abs(crop).max() / 0.98)
    waves = torch.from_numpy(crops)
    mels = log_mel(waves)
    for row in np.flatnonzero(draw.random(plan.batch) < plan.degraded):
        mels[row] = _degraded(mels[row], draw)
    return waves[:, None, CONTEXT:-CONTEXT], mels


def _degraded(mel: Tensor, draw: np.random.Generator) -> Tensor:
    """Blur a log-mel (80, T) over time, bands or both, and add noise."""
    share = draw.uniform(0, 0.25, 2)
    kernel = torch.tensor(np.outer([share[0], 1 - 2 * share[0], share[0]], [share[1], 1 - 2 * share[1], share[1]]))
    blurred = F.conv2d(F.pad(mel[None], (1, 1, 1, 1), mode="replicate"), kernel[None, None].float())[0]
    return blurred + float(draw.uniform(0, 0.2)) * torch.randn_like(mel)


def _magnitude(wave: Tensor, window: Tensor) -> Tensor:
    size = len(window)
    spectrum = torch.stft(wave, size, size // 4, window=window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-7).sqrt()


def _teach(
    judges: Discriminators, asked: list[int], optimizer: torch.optim.Optimizer, wave: Tensor, spoken: Tensor
) -> Tensor:
    """Take a step of the judges: genuine is 1, spoken by the network is 0; return their mean loss."""
    verdicts = judges(torch.cat((wave, spoken)), asked)
    loss = torch.zeros(())
    for verdict in verdicts:
        genuine, made = verdict.scores.chunk(2)
        loss = loss + (genuine - 1).square().mean() + made.square().mean()
    update(optimizer, loss, limit=100.0)
    return loss.detach() / len(verdicts)


def _judge(judges: Discriminators, asked: list[int], wave: Tensor, spoken: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the judges are from taking `spoken` for genuine, and how far their features are from the wave's."""
    with torch.no_grad():
        wanted = judges(wave, asked)
    judges.requires_grad_(False)
    found = judges(spoken, asked)
    judges.requires_grad_(True)
    fooled, features = torch.zeros(()), torch.zeros(())
    for mine, genuine in zip(found, wanted, strict=True):
        fooled = fooled + (mine.scores - 1).square().mean()
        for a, b in zip(mine.features, genuine.features, strict=True):
            features = features + (a - b).abs().mean()
    return fooled / len(found), features / len(found)


def _follow(mean: nn.Module, module: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(mean.parameters()), [value.detach() for value in module.parameters()], 1 - decay)
