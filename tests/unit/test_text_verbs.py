"""What the verbs that write text deliver, the grammar of timestamps, and rules inside the decoding loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_lm import Toy

from ovconvert.errors import UsageError
from ovconvert.runtime.decode import Sampling, generate
from ovconvert.runtime.listening import ListenRequest, Passage, Transcript
from ovconvert.runtime.programs.whisper import repetition
from ovconvert.runtime.programs.whisper.rules import TokenRules
from ovconvert.runtime.writing import WriteRequest
from ovconvert.text_output import refuse_text, write_text
from ovconvert.transcribe import Options, as_json, as_subtitles, as_text, moment, requires

HEARD = Transcript(
    " One. Two.", (Passage(0.0, 1.5, " One.", (7, 8)), Passage(61.25, 3723.04, " Two.", (9,))), "en", {"encoder": 1.0}
)
END, SILENT, FIRST = 10, 14, 15  # tokens below END are text
SETTINGS: dict[str, Any] = {
    "suppress_tokens": [3],
    "begin_suppress_tokens": [4],
    "eos_token_id": END,
    "no_timestamps_token_id": SILENT,
    "max_initial_timestamp_index": 2,
}


def allowed(codes: list[int], *, timestamps: bool = True, scores: np.ndarray | None = None) -> set[int]:
    """Return the tokens of 25 that may follow `codes`."""
    given = np.zeros((1, 25), np.float32) if scores is None else scores[None].astype(np.float32)
    ruled = TokenRules(SETTINGS, timestamps=timestamps)(given, np.array([codes], np.int64).reshape(1, -1))
    return set(np.flatnonzero(ruled[0] > -np.inf).tolist())


def test_subtitles_and_text() -> None:
    assert as_text(HEARD) == "One. Two.\n"
    assert as_subtitles(HEARD) == ("1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n00:01:01,250 --> 01:02:03,040\nTwo.\n")
    assert json.loads(as_json(HEARD))["passages"][1]["tokens"] == [9]
    assert "timings" not in json.loads(as_json(HEARD))
    assert moment(59.9996) == "00:01:00,000"


def test_outputs_are_written_whole_and_never_over_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]
    with pytest.raises(UsageError, match="exists; name another"):
        refuse_text(path, (".txt",), force=False)
    refuse_text(path, (".txt",), force=True)
    with pytest.raises(UsageError, match=r"unknown suffix '.doc'; have: .txt, .srt"):
        refuse_text(tmp_path / "a.doc", (".txt", ".srt"), force=False)


def test_everything_that_is_wrong_is_told(tmp_path: Path) -> None:
    assert requires(tmp_path, Options(threads=0)) == ["no recording: name an audio file", "threads 0: at least 1"]
    assert requires(tmp_path, Options(audio=tmp_path / "no.wav")) == [f"recording {tmp_path / 'no.wav'}: no such file"]
    with pytest.raises(UsageError, match=r"(?s)task is 'sing'.*temperatures is \(\)"):
        ListenRequest(task="sing", temperatures=())
    with pytest.raises(UsageError, match="temperature is 0"):
        WriteRequest(temperature=0.0)


def test_times_come_first_in_pairs_and_never_go_back() -> None:
    text = set(range(END)) - {3}
    assert allowed([]) == {FIRST, FIRST + 1, FIRST + 2}
    # as likely as each other, so many times outweigh any word: words are made likelier here
    wordy = np.where(np.arange(25) < FIRST, 9.0, 0.0)
    assert allowed([FIRST, 5], scores=wordy) == (text | set(range(END, 25))) - {SILENT, FIRST}
    assert allowed([FIRST + 1], scores=wordy) == (text | set(range(END, SILENT)))  # the first one stands alone
    assert allowed([FIRST, 5, FIRST + 3], scores=wordy) == set(range(END, SILENT)) | set(range(FIRST + 3, 25))
    assert allowed([FIRST, 5, FIRST + 3, FIRST + 3], scores=wordy) == text | set(range(END, SILENT))
    assert allowed([FIRST, 5]) == set(range(FIRST + 1, 25))  # together likelier than any word
    assert allowed([], timestamps=False) == set(range(25)) - {3, 4}
    assert allowed([5], timestamps=False) == set(range(25)) - {3}


def test_text_that_repeats_itself_shrinks_most() -> None:
    varied = np.random.default_rng(0).integers(0, 50_000, 200)
    assert repetition(np.full(200, 7), 50_000) > 10
    assert repetition(varied, 50_000) < 2.4


@pytest.mark.parametrize("beams", [1, 3])
def test_a_rule_sees_what_its_row_has_drawn(beams: int) -> None:
    model, seen = Toy(3, bias=-5.0), []

    def never_twice(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
        seen.append(codes.shape)
        result = scores.copy()
        for row, drawn in zip(result, codes, strict=True):
            row[drawn] = -np.inf
        return result

    def run(rule: Any) -> np.ndarray:
        sampling = Sampling(False, beams, repetition_penalty=1.0, max_new_tokens=12)
        prefix, rng = model.table[[[1, 2]]], np.random.default_rng(0)
        return generate(model, prefix, model.embed, sampling, eos_token_id=0, history=[], rng=rng, rule=rule).codes

    ruled = run(never_twice)
    assert len(set(ruled.tolist())) == len(ruled) > 5
    assert seen[:2] == [(beams, 0), (beams, 1)]
    free = run(None)
    assert len(set(free.tolist())) < len(free)  # the twin
