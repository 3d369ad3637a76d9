"""A reference recording and what is said in it, as the model continues them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.runtime import audio
from ovconvert.runtime.programs.f5tts.spectrum import log_mel
from ovconvert.runtime.programs.f5tts.texts import transcript
from ovconvert.runtime.request import Resolved

LOUDNESS = 0.1  # root mean square to which a quieter recording is raised, and its speech lowered again
SHORTEST_SECONDS = 0.5
SPARE_SECONDS = 0.01  # that are read beyond the longest, to see that there are more


@dataclass(frozen=True)
class Voice:
    """`text` is what is said in the recording, `mel` (1, bands, frames) how; speech is `gain` times as loud as it is made.

    `before` frames of mel come before what is new: one less than there are, so that the recording's last frame is heard too.
    """

    text: str
    mel: np.ndarray
    gain: float
    seconds: float

    @property
    def before(self) -> int:
        """Frames of whole hops in the recording."""
        return int(self.mel.shape[2]) - 1


def read_voice(request: Resolved, settings: Mapping[str, Any]) -> Voice:
    """Return the voice of a request.

    Raises UsageError if there is no recording or no text of it, and for a recording that is too long: cut, it would not say
    what its text does.
    """
    if request.voice is None:
        raise UsageError("no voice: give a reference recording with --voice, and what is said in it with --voice-text")
    path = Path(request.voice)
    limit = request.max_reference_seconds
    heard = audio.read_audio(path, limit + SPARE_SECONDS, min_seconds=SHORTEST_SECONDS)
    if heard.seconds > limit:
        raise UsageError(
            f"{path} is longer than {limit:g} s; cut it between two sentences, and its text likewise, or allow more with "
            "--max-reference-seconds"
        )
    loudness = float(np.sqrt(np.mean(np.square(heard.samples))))
    gain = min(loudness / LOUDNESS, 1.0)
    rate = settings["sample_rate"]
    samples = audio.resample_sinc(heard.samples / np.float32(gain), heard.sample_rate, rate)
    return Voice(_text(path, request.voice_text), log_mel(samples, **settings), gain, heard.seconds)


def _text(path: Path, given: str | None) -> str:
    """Return what is said in the recording at `path`: as given, or from the text file beside it."""
    beside = path.with_suffix(".txt")
    if given is None and not beside.is_file():
        raise UsageError(f"what is said in {path} is not known: give it with --voice-text, or write it into {beside}")
    if given is not None:
        return transcript(given)
    try:
        return transcript(beside.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{beside} is not UTF-8: {error}") from error
