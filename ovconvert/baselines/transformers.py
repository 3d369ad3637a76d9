"""The transformers library on the checkpoint: its own front end, cache and decoding loop, with its defaults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ovconvert import package
from ovconvert.baselines.kinds import LISTENER, WRITER
from ovconvert.baselines.transformers_loop import LOOPS
from ovconvert.errors import UsageError
from ovconvert.runtime.audio import read_audio, resample
from ovconvert.runtime.listening import ListenRequest, Transcript
from ovconvert.runtime.writing import Answer, WriteRequest
from ovconvert.spec import Component

PROMPT = 4  # tokens that say what to do, which the library counts too


class LibraryEngine:
    """Stands where an engine is expected and brings a program of its own: the components of the package are not run.

    `threads` is a setting of the whole process in PyTorch.
    """

    def __init__(self, checkpoint: Path, directory: Path, *, threads: int | None = None) -> None:
        self.directory = directory
        self.manifest = package.load(directory)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.compile_seconds: defaultdict[str, float] = defaultdict(float)
        self._checkpoint, self._threads = checkpoint, threads

    def program(self, watched: Any) -> Library:
        """Return the library's model, which notes its calls in `watched`."""
        self._limit()
        return Library(self._checkpoint, watched)

    def model(self) -> Fixed:
        """Return the library's model as it is asked for so many ids; nothing is noted."""
        self._limit()
        return Fixed(self._checkpoint, hears=self.manifest.sample_rate > 0)

    def _limit(self) -> None:
        import torch

        if self._threads is not None:
            torch.set_num_threads(self._threads)


class Fixed:
    """A model that the library has opened, in float32, and that makes so many ids. Raises as `Library` does."""

    def __init__(self, checkpoint: Path, *, hears: bool) -> None:
        import transformers

        model = _model(checkpoint, hears)
        transformers.logging.set_verbosity_error()
        self._loop = LOOPS[LISTENER if hears else WRITER](model, checkpoint)
        self.settings = f"transformers {transformers.__version__}, weights float32"

    def generate(self, source: Any, tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after `source`."""
        return self._loop(source, tokens, beams)


class Library:
    """A model that the library has opened, in float32. Encoder and decoder calls are noted under the package's names.

    Raises UsageError if the library cannot read `checkpoint` as such a model.
    """

    def __init__(self, checkpoint: Path, watched: Any) -> None:
        import transformers

        self._watched = watched
        hears = watched.manifest.sample_rate > 0
        front = transformers.AutoFeatureExtractor if hears else transformers.AutoTokenizer
        self._model: Any = _model(checkpoint, hears)
        self._front: Any = _opened(checkpoint, front)
        self._tokenizer: Any = _opened(checkpoint, transformers.AutoTokenizer)
        transformers.logging.set_verbosity_error()  # it would remark on settings of ours at every call
        roles = {packed.component.role: packed.component for packed in watched.manifest.components}
        self._note(self._model.get_encoder(), roles["encoder"])
        self._note(self._model, roles["step"], "decoder_input_ids")

    def transcribe(
        self, audio: Path, request: ListenRequest, on_progress: Callable[[str, int, int], None] = lambda *_: None
    ) -> Transcript:
        """Return what is said in the recording, decoded once: no other temperatures are tried."""
        rate = self._front.sampling_rate
        recording = resample(read_audio(audio, allow_silence=True), rate)
        long = len(recording.samples) > self._front.n_samples
        whole = {"truncation": False, "padding": "longest", "return_attention_mask": True} if long else {}
        inputs = self._front(recording.samples, sampling_rate=rate, return_tensors="pt", **whole)
        settings: dict[str, Any] = {"return_timestamps": True} if request.timestamps or long else {}
        if getattr(self._model.generation_config, "is_multilingual", False):
            settings["task"] = request.task
            if request.language != "auto":
                settings["language"] = request.language
        longest = self._model.config.max_target_positions - PROMPT
        if request.max_new_tokens < longest:
            settings["max_new_tokens"] = request.max_new_tokens
        tokens = self._model.generate(
            **inputs,
            do_sample=False,
            num_beams=request.num_beams,
            length_penalty=request.length_penalty,
            **settings,
        )[0]
        return Transcript(self._tokenizer.decode(tokens, skip_special_tokens=True), (), request.language)

    def write(
        self, text: str, request: WriteRequest, on_progress: Callable[[str, int, int], None] = lambda *_: None
    ) -> Answer:
        """Return the answer to `text`."""
        sampling = {"top_k": request.top_k, "top_p": request.top_p, "temperature": request.temperature}
        tokens = self._model.generate(
            self._front(text, return_tensors="pt").input_ids,
            do_sample=request.do_sample,
            num_beams=request.num_beams,
            max_new_tokens=request.max_new_tokens,
            length_penalty=request.length_penalty,
            repetition_penalty=request.repetition_penalty,
            **(sampling if request.do_sample else {}),
        )[0].tolist()[1:]
        end = self._model.config.eos_token_id
        codes = tuple(tokens[: tokens.index(end)] if end in tokens else tokens)
        return Answer(self._tokenizer.decode(codes, skip_special_tokens=True), codes, end in tokens)

    def _note(self, module: Any, component: Component, argument: str = "") -> None:
        """Note every call of `module` as one of `component`; `argument` holds the new positions, else its first input."""
        begun: list[float] = []

        def before(module: Any, args: Any, kwargs: Any) -> None:
            begun.append(self._watched.clock())

        def after(module: Any, args: Any, kwargs: Any, result: Any) -> None:
            given = kwargs.get(argument) if argument else next(iter((*args, *kwargs.values())))
            port = component.inputs[0]
            self._watched.note(component.name, {port.name: given.numpy()} if given is not None else {}, begun.pop())

        module.register_forward_pre_hook(before, with_kwargs=True)
        module.register_forward_hook(after, with_kwargs=True)


def _model(checkpoint: Path, hears: bool) -> Any:
    """Return the library's model that hears, or that answers, in float32."""
    import torch
    import transformers

    kind = transformers.AutoModelForSpeechSeq2Seq if hears else transformers.AutoModelForSeq2SeqLM
    return _opened(checkpoint, kind, dtype=torch.float32).eval()


def _opened(checkpoint: Path, kind: Any, **settings: Any) -> Any:
    """Return what the library's class `kind` reads in `checkpoint`."""
    try:
        return kind.from_pretrained(checkpoint, local_files_only=True, **settings)
    except Exception as error:  # the library raises errors of many kinds
        raise UsageError(f"the transformers library cannot read {checkpoint}: {error}") from error
