"""Speech tokens to audio, whole or part by part: flow, vocoder, what one part leaves the next (spec sections 7 to 10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovconvert.runtime.engine import Engine
from ovconvert.runtime.guidance import Guided
from ovconvert.runtime.programs.cosyvoice.voices import Voice
from ovconvert.runtime.request import Resolved
from ovconvert.runtime.resize import linear_index, linear_pieces
from ovconvert.runtime.solve import initial_noise, solve, sway_times

EDGE = 20  # tokens at both ends of a longer sequence, which are stretched by themselves
OVERLAP = 20  # tokens that two parts share
AGAIN = 20  # mel frames of a part that the next one voices again

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Voiced:
    """The end of what was voiced: mel frames, the source and the audio of them, and the phases with which they began."""

    mel: np.ndarray
    source: np.ndarray
    samples: np.ndarray
    phase: np.ndarray


class Sound:
    """Turns the speech tokens of one piece into audio, in parts that follow each other.

    Two parts share tokens. The flow starts the second with the noise that the first ended with, and both mels, then both
    waveforms, are cross-faded where they overlap.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Mapping[str, Any],
        voice: Voice,
        request: Resolved,
        rng: np.random.Generator,
        on_progress: Report,
    ) -> None:
        self._engine = engine
        self._settings = settings
        heard = round(request.prompt_seconds * settings["token_rate"])
        self._voice = voice.last(heard, self.frames(heard))
        self._request = request
        self._rng = rng
        self._report = on_progress
        self._flow: tuple[np.ndarray, np.ndarray] | None = None  # noise and mu of the prompt and of the last part's end
        self._mel: np.ndarray | None = None  # the last part's end, held back
        self._voiced: _Voiced | None = None

    def part(self, codes: np.ndarray, *, last: bool = True) -> np.ndarray:
        """Return audio (samples,) of speech tokens (n,), the first OVERLAP of which are the last of the part before.

        What the next part can change is held back, unless this is the `last` one.
        """
        mel = self.mel(codes)
        if self._request.speed != 1.0:
            mel = faster(mel, self._request.speed)
        if self._mel is not None:
            mel = faded(self._mel, mel)
        if not last:
            held = self.frames(OVERLAP)
            self._mel, mel = mel[:, :, -held:], mel[:, :, :-held]
        return self.wave(mel, last=last)

    def mel(self, codes: np.ndarray) -> np.ndarray:
        """Return the mel (1, bands, frames) of speech tokens (n,), those of the prompt left out."""
        voice = self._voice
        heard, prompt = len(voice.codes), voice.mel.shape[2]
        content = self._engine.run("token_encoder", codes=np.concatenate([voice.codes, codes])[None])["content"]
        index, fraction = linear_pieces([(heard, prompt)] * bool(heard) + stretches(len(codes), self.frames))
        mu = self._engine.run("length_regulator", content=content, index=index, fraction=fraction)["mu"]
        noise = initial_noise(self._rng, mu.shape)
        if self._flow is not None:
            noise, mu = (_over(new, old) for new, old in zip((noise, mu), self._flow, strict=True))
        held = self.frames(OVERLAP)
        begin, end = (np.concatenate([new[:, :, :prompt], new[:, :, -held:]], 2) for new in (noise, mu))
        self._flow = begin, end
        return self._solve(noise, mu)[:, :, prompt:]

    def _solve(self, noise: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Return the mel (1, bands, frames) that the flow makes of `noise`, guided by `mu`, both of that shape."""
        request = self._request
        condition = np.zeros_like(mu)
        condition[:, :, : self._voice.mel.shape[2]] = self._voice.mel
        vector = self._engine.run("speaker_projection", speaker=self._voice.speaker)["flow_speaker"]
        constant = {"cond": condition, "mu": mu, "speaker": vector}

        def branches(x: np.ndarray, t: float, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
            asked = {"x": x, "t": np.array([t], np.float32), "branch_mask": mask, "branch_weights": weights}
            return self._engine.run("flow_estimator", **asked, **constant)["velocity"]

        start, end = request.guidance_interval
        return solve(
            request.solver,
            Guided(branches, request.guidance, (start, end), request.guidance_every),
            noise,
            sway_times(request.steps, request.sway),
            on_step=lambda step: self._report("flow_estimator", step, request.steps),
        )

    def frames(self, tokens: int) -> int:
        """Return how many mel frames so many tokens fill, by the original's order of divisions (spec section 7)."""
        seconds = tokens / self._settings["token_rate"]
        return int(seconds * self._engine.manifest.sample_rate / self._settings["hop_length"])

    def wave(self, mel: np.ndarray, *, last: bool = True) -> np.ndarray:
        """Return the audio (samples,) of a mel (1, bands, frames) that follows on the one before it.

        The last frames of that one are voiced again. Their source is taken as it was, and the harmonics go on from it; the
        original begins them anew, and leaves it to the cross-fade to hide that.
        """
        before, hop = self._voiced, self._settings["hop_length"]
        if before is not None:
            mel = np.concatenate([before.mel, mel], 2)
        f0 = self._engine.run("f0_predictor", mel=mel)["f0"]
        harmonics = self._settings["harmonics"]
        phase = self._rng.uniform(-np.pi, np.pi, (1, harmonics)).astype(np.float32) if before is None else before.phase
        if before is None:
            phase[:, 0] = 0.0
        noise = self._rng.standard_normal((1, harmonics, hop * mel.shape[2]), dtype=np.float32)
        source = self._engine.run("harmonic_source", f0=f0, phase=phase, noise=noise)["source"]
        if before is not None:
            source[:, :, : before.source.shape[2]] = before.source
        samples = self._engine.run("vocoder", mel=mel, source=source)["waveform"].reshape(-1)
        if before is not None:
            samples = faded(before.samples, samples)
        if last:
            return samples
        kept = AGAIN * hop
        turned = phase + self._turns(f0[:, :-AGAIN])
        self._voiced = _Voiced(mel[:, :, -AGAIN:], source[:, :, -kept:], samples[-kept:], turned)
        return samples[:-kept]

    def _turns(self, f0: np.ndarray) -> np.ndarray:
        """Return by how much frames of `f0` (1, frames) turn each harmonic, (1, harmonics) in radians."""
        cycles = f0.sum(dtype=np.float64) * self._settings["hop_length"] / self._engine.manifest.sample_rate
        multiples = np.arange(1, self._settings["harmonics"] + 1)
        turned: np.ndarray = (2 * np.pi * np.mod(multiples * cycles, 1.0)).astype(np.float32)[None]
        return turned


def _over(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Return `new` (1, bands, frames) with the frames of `old` in place of its first."""
    return np.concatenate([old, new[:, :, old.shape[2] :]], 2)


def faded(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return `new` (..., n), its beginning cross-faded with all of `old` (..., m), by halves of a Hamming window.

    The original's halves add up to as much as 1.08, which is heard as a change of level; here they are divided by their sum.
    """
    count = old.shape[-1]
    window = np.hamming(2 * count)
    rising = (window[:count] / (window[:count] + window[count:])).astype(np.float32)
    mixed = old * (1 - rising) + new[..., :count] * rising
    joined: np.ndarray = np.concatenate([mixed, new[..., count:]], -1)
    return joined


def stretches(tokens: int, frames: Callable[[int], int]) -> list[tuple[int, int]]:
    """Return (tokens, frames) of the pieces that are stretched apart; `frames` says how many frames tokens fill."""
    whole, edge = frames(tokens), frames(EDGE)
    if tokens <= 2 * EDGE:
        return [(tokens, max(whole, 1))]
    return [(EDGE, edge), (tokens - 2 * EDGE, whole - 2 * edge), (EDGE, edge)]


def faster(mel: np.ndarray, speed: float) -> np.ndarray:
    """Return a mel (1, bands, frames) played at `speed`, by linear interpolation over time (spec section 10)."""
    index, fraction = linear_index(mel.shape[2], max(int(mel.shape[2] / speed), 1))
    behind = np.concatenate([mel, mel[:, :, -1:]], 2)
    stretched: np.ndarray = behind[:, :, index] * (1 - fraction) + behind[:, :, index + 1] * fraction
    return stretched
