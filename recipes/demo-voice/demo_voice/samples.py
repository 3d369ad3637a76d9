"""What there is to listen to: sentences of the test set as recorded and as synthesised, and a picture of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from demo_voice import spoken
from demo_voice.corpus import RATE, SPEAKERS
from demo_voice.spoken import Spoken
from ovconvert.runtime.features import log_mel

MEL = {"sample_rate": RATE, "n_fft": 512, "win_length": 512, "hop_length": 128, "n_mels": 80}
PER_SPEAKER = 2


def write(figures: Path, dest: Path) -> None:
    """Write pairs of FLAC files, `<place>_<speaker>_<style>_{flite,ours}.flac`, their texts, and spectrogram.png."""
    dest.mkdir(parents=True, exist_ok=True)
    pairs = list(zip(spoken.load(figures / "corpus"), spoken.load(figures / "graphs"), strict=False))
    lines = [
        "# Samples",
        "",
        "The first sentences of the test set in each voice, as flite and as the checkpoint speak them.",
        "",
    ]
    shown: tuple[Spoken, Spoken] | None = None
    for speaker in SPEAKERS:
        mine = [(place, pair) for place, pair in enumerate(pairs) if pair[0].speaker == speaker][:PER_SPEAKER]
        for place, (theirs, ours) in mine:
            name = f"{place:03d}_{speaker}_{theirs.style}"
            soundfile.write(dest / f"{name}_flite.flac", theirs.samples, RATE, "PCM_16")
            soundfile.write(dest / f"{name}_ours.flac", ours.samples, RATE, "PCM_16")
            lines.append(f"- `{name}`: {theirs.text}")
            shown = shown or (theirs, ours)
    (dest / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if shown:
        _draw(shown, dest / "spectrogram.png")


def _draw(pair: tuple[Spoken, Spoken], dest: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    for axis, one, name in zip(axes, pair, ("flite", "full synthesis"), strict=True):
        mel = log_mel(np.asarray(one.samples), **MEL)[0]
        axis.imshow(mel, origin="lower", aspect="auto", extent=(0, one.seconds, 0, 80), vmin=-9, vmax=1)
        axis.set(title=f"{name}: {one.text} ({one.speaker}, {one.style})", ylabel="mel band")
    axes[-1].set_xlabel("seconds")
    figure.savefig(dest, dpi=80)
    pyplot.close(figure)
