"""Speech to text: windows of the recording, one after the other, each decoded from its own spectrum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.errors import IntegrityError, UsageError
from ovconvert.runtime.audio import read_audio, resample
from ovconvert.runtime.cache import Step, open_step
from ovconvert.runtime.decode import Generation, Sampling, generate, softmax
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.features import decade_mel
from ovconvert.runtime.listening import ListenRequest, Passage, Transcript
from ovconvert.runtime.programs.whisper.rules import TokenRules
from ovconvert.runtime.token_step import TokenStep
from ovconvert.runtime.tokenizers import HFTokenizer

FRAMES_PER_TOKEN = 2  # spectral frames per position of the encoder, and per timestamp


class Program:
    """Transcribes with the package of `engine`. Raises IntegrityError if its settings are damaged."""

    def __init__(self, engine: Engine) -> None:
        path = engine.directory / "assets" / "settings.json"
        try:
            self.settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{path} cannot be read: {error}; check the package with 'ovconvert verify'") from error
        self._engine = engine
        self._tokenizer = HFTokenizer(engine.directory / "assets" / "tokenizer.json")
        self._opened: Step | None = None
        silent = self.settings["no_timestamps_token_id"]
        self._first_time = self.settings["vocab_size"] + 1 if silent is None else silent + 1
        self._window = FRAMES_PER_TOKEN * self.settings["max_source_positions"]
        self._frame_seconds = self.settings["hop_length"] / self.settings["sampling_rate"]

    def transcribe(
        self, audio: Path, request: ListenRequest, on_progress: Callable[[str, int, int], None] = lambda *_: None
    ) -> Transcript:
        """Return what is said in the recording at `audio`. Raises UsageError for an unusable recording or request."""
        recording = resample(read_audio(audio, allow_silence=True), self.settings["sampling_rate"])
        return self.hear(recording.samples, request, on_progress)

    def spectrum(self, samples: np.ndarray) -> np.ndarray:
        """Return the log-mel (bands, frames) of `samples` (count,), as the checkpoint's front end makes it."""
        return decade_mel(
            samples, *(self.settings[name] for name in ("sampling_rate", "n_fft", "hop_length", "feature_size"))
        )

    @property
    def window(self) -> int:
        """How many samples the encoder hears at once."""
        return int(self._window * self.settings["hop_length"])

    def generate(self, samples: np.ndarray, sampling: Sampling) -> Generation:
        """Return the tokens of one window: of `samples` (count,) what it holds, silence behind them; heard once.

        The language is the first that the package knows, and no times are told. For comparison with other decoders.
        """
        heard = samples[: self.window]
        spectrum = self.spectrum(np.pad(heard, (0, self.window - len(heard))))
        known: dict[str, int] = self.settings["lang_to_id"] if self.settings["is_multilingual"] else {}
        prompt = self._prompt(min(known.values(), default=None), "transcribe", timestamps=False)
        times = range(self._first_time, self.settings["vocab_size"])
        never = [*(self.settings["suppress_tokens"] or []), *times]
        rules = TokenRules({**self.settings, "suppress_tokens": never}, timestamps=False)
        return self.decode(self.encode(spectrum), prompt, sampling, rules, np.random.default_rng(0))

    def hear(
        self, samples: np.ndarray, request: ListenRequest, on_progress: Callable[[str, int, int], None] = lambda *_: None
    ) -> Transcript:
        """Return what is said in `samples` (count,) at the rate of the model.

        Windows follow each other at the last timestamp that the model gave (arXiv 2212.04356, section 3.8); a recording
        longer than one window is therefore always decoded with timestamps.
        """
        window = self.window
        long = len(samples) > window
        timestamps = request.timestamps or long
        if timestamps and self.settings["no_timestamps_token_id"] is None:
            raise UsageError("the package has no timestamp tokens, which long recordings need; give at most one window")
        padding = window if long else window - len(samples)
        spectrum = self.spectrum(np.pad(samples, (0, padding)))
        total = spectrum.shape[1] - (self._window if long else 0)
        language, passages, seek = None, list[Passage](), 0
        while seek < total:
            on_progress("listen", seek, total)
            states = self.encode(self._cut(spectrum, seek, total))
            if language is None:
                language = self._language(states, request)
            before = [token for passage in passages for token in passage.tokens] if request.condition else []
            tokens, kept = self._window_tokens(states, language, before, request, timestamps)
            size = min(total - seek, self._window)
            if not kept:
                seek += size
                continue
            found, advance = self._passages(tokens, seek, size)
            passages += found
            seek += advance
        on_progress("listen", total, total)
        name = next((key.strip("<|>") for key, token in self.settings["lang_to_id"].items() if token == language), "")
        return Transcript("".join(passage.text for passage in passages), tuple(passages), name, dict(self._engine.seconds))

    def encode(self, spectrum: np.ndarray) -> np.ndarray:
        """Return the encoder's states (1, positions, width) of one window (bands, frames)."""
        return self._engine.run("encoder", input_features=spectrum[None])["last_hidden_state"]

    def decode(
        self, states: np.ndarray, prompt: Sequence[int], sampling: Sampling, rules: TokenRules, rng: np.random.Generator
    ) -> Generation:
        """Return the tokens that follow `prompt` for the encoder's `states` (1, positions, width)."""
        step = TokenStep(self._step(), {"encoder_hidden_states": states}, sampling.num_beams)
        return generate(
            step,
            np.array([list(prompt)], np.int64),
            lambda codes, position: codes,
            sampling,
            eos_token_id=self.settings["eos_token_id"],
            history=list(prompt),
            rng=rng,
            rule=rules,
        )

    def _step(self) -> Step:
        if self._opened is None:
            self._opened = open_step(self._engine, "decoder")
        return self._opened

    def _cut(self, spectrum: np.ndarray, seek: int, total: int) -> np.ndarray:
        """Return the window that begins at frame `seek`, zeros behind the end of the recording."""
        part = spectrum[:, seek : min(seek + self._window, total)]
        return np.pad(part, ((0, 0), (0, self._window - part.shape[1])))

    def _language(self, states: np.ndarray, request: ListenRequest) -> int | None:
        """Return the token of the asked language, or of the likeliest; None for a model of one language."""
        known: dict[str, int] = self.settings["lang_to_id"]
        if not known or not self.settings["is_multilingual"]:
            if request.language != "auto" or request.task != "transcribe":
                raise UsageError("the package knows one language and one task; leave --language and --task out")
            return None
        if request.language != "auto":
            token = known.get(f"<|{request.language}|>")
            if token is None:
                have = ", ".join(sorted(key.strip("<|>") for key in known))
                raise UsageError(f"no language {request.language!r} in the package; have: auto, {have}")
            return token
        logits, _ = self._first(states)
        return max(known.values(), key=lambda token: float(logits[token]))

    def _first(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the logits (V,) and the probabilities (V,) that follow the start token alone."""
        step = self._step()
        step.reset()
        start = np.array([[self.settings["decoder_start_token_id"]]], np.int64)
        logits = step(input_ids=start, encoder_hidden_states=states)["logits"][0, -1]
        return logits, softmax(logits)

    def _prompt(self, language: int | None, task: str, timestamps: bool) -> list[int]:
        """Return the tokens that say what to do: start, language, task, and that no times are wanted."""
        settings = self.settings
        prompt = [settings["decoder_start_token_id"]]
        if language is not None:
            prompt += [language, settings["task_to_id"][task]] if settings["task_to_id"] else [language]
        if not timestamps and settings["no_timestamps_token_id"] is not None:
            prompt.append(settings["no_timestamps_token_id"])
        return prompt

    def _window_tokens(
        self, states: np.ndarray, language: int | None, before: list[int], request: ListenRequest, timestamps: bool
    ) -> tuple[np.ndarray, bool]:
        """Return the tokens of a window and whether there is speech in it.

        The temperatures are tried in turn until the text neither repeats itself nor is too improbable (section 3.8).
        """
        prompt = self._prompt(language, request.task, timestamps)
        earlier = self._earlier(before)
        limit = min(request.max_new_tokens, self.settings["max_target_positions"] - len(prompt) - len(earlier))
        tokens = np.zeros(0, np.int64)
        for attempt, temperature in enumerate(request.temperatures):
            warm = temperature > 0
            sampling = Sampling(
                do_sample=warm,
                num_beams=1 if warm else request.num_beams,
                top_p=1.0,
                top_k=0,
                temperature=temperature if warm else 1.0,
                repetition_penalty=1.0,
                length_penalty=request.length_penalty,
                max_new_tokens=limit,
                ends_compete=False,
            )
            rules = TokenRules(self.settings, timestamps=timestamps)
            rng = np.random.default_rng([request.seed, attempt])
            drawn = self.decode(states, earlier + prompt, sampling, rules, rng)
            tokens = drawn.codes
            mean = self.mean_log_probability(drawn, rules, sampling)
            improbable = mean < request.logprob_threshold
            if improbable and self._silence(states) > request.no_speech_threshold:
                return tokens, False
            if not improbable and repetition(tokens, self.settings["vocab_size"]) <= request.compression_threshold:
                break
        return tokens, True

    def mean_log_probability(self, drawn: Generation, rules: TokenRules, sampling: Sampling) -> float:
        """Return the mean over tokens, the end included, of their log-probability at temperature 1."""
        count = len(drawn.codes) + drawn.finished
        if sampling.num_beams > 1:
            return float(drawn.score * count**sampling.length_penalty / max(count, 1))
        tokens = [*drawn.codes, self.settings["eos_token_id"]][:count]
        return float(np.mean([row[0, token] for row, token in zip(rules.scores, tokens, strict=False)])) if tokens else 0.0

    def _earlier(self, before: list[int]) -> list[int]:
        """Return the text of earlier windows as it stands before the start token; nothing if there is none."""
        mark, room = self.settings["prev_sot_token_id"], self.settings["max_target_positions"] // 2 - 1
        return [mark, *before[-(room - 1) :]] if before and mark is not None else []

    def _silence(self, states: np.ndarray) -> float:
        """Return the probability that nobody speaks: of the token before the one that says that no times are wanted."""
        silent = self.settings["no_timestamps_token_id"]
        return float(self._first(states)[1][silent - 1]) if silent is not None else 0.0

    def _passages(self, tokens: np.ndarray, seek: int, size: int) -> tuple[list[Passage], int]:
        """Return the passages between timestamps and by how many frames to go on (section 3.8).

        Two timestamps in a row end a passage. What stands behind the last such pair is heard again in the next window,
        unless the last token is a single timestamp: then nothing was said after it.
        """
        times = tokens >= self._first_time
        cuts = [index + 1 for index in range(len(tokens) - 1) if times[index] and times[index + 1]]
        single = len(tokens) >= 2 and not times[-2] and bool(times[-1])
        if not cuts:
            marked = np.flatnonzero(times)
            end = size // FRAMES_PER_TOKEN
            if len(marked) and tokens[marked[-1]] != self._first_time:
                end = int(tokens[marked[-1]]) - self._first_time
            return [self._passage(tokens, seek, 0, end)], size
        if single:
            cuts.append(len(tokens))
        else:
            cuts[-1] += 1
        passages, start = [], 0
        for place, stop in enumerate(cuts):
            part = tokens[start:stop]
            last = -1 if place < len(cuts) - 1 or single else -2
            begun = max(int(part[0]) - self._first_time, 0)  # of text in front of any time, the window's begin
            passages.append(self._passage(part, seek, begun, int(part[last]) - self._first_time))
            start = stop
        advance = size if single else (int(tokens[start - 2]) - self._first_time) * FRAMES_PER_TOKEN
        return passages, advance if advance > 0 else size

    def _passage(self, tokens: np.ndarray, seek: int, start: int, end: int) -> Passage:
        """Return the passage from position `start` to `end` of the window at frame `seek`."""
        text = self._tokenizer.decode([int(token) for token in tokens if token < self.settings["eos_token_id"]])
        times = [(seek + FRAMES_PER_TOKEN * position) * self._frame_seconds for position in (start, end)]
        return Passage(times[0], times[1], text, tuple(int(token) for token in tokens))


def repetition(tokens: np.ndarray, vocabulary: int) -> float:
    """Return how many times shorter zlib makes the tokens: text that repeats itself shrinks most."""
    size = int(np.log2(vocabulary) / 8) + 1
    data = b"".join(int(token).to_bytes(size, "little") for token in tokens)
    return len(data) / len(zlib.compress(data))
