"""One segment of text to audio: codes, latents, content, mel, waveform (spec sections 10 to 14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovconvert.runtime.cache import Step, open_step
from ovconvert.runtime.decode import Generation, Sampling, generate
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.guidance import Guided
from ovconvert.runtime.programs.indextts2.texts import Segment
from ovconvert.runtime.programs.indextts2.voices import Voice
from ovconvert.runtime.request import Resolved
from ovconvert.runtime.resize import nearest_index
from ovconvert.runtime.solve import initial_noise, solve, sway_times
from ovconvert.runtime.speech import Chunk
from ovconvert.runtime.windows import windows

VOCODER = "vocoder"
VOICED_SECONDS = 5.0  # at a time: of longer pieces no cache holds the activations, and they take the memory (notebook, 14)
PLACEHOLDER = 1  # the id that stands for each prefix position in the history of the repetition penalty (section 11)
SKIPPED = 1  # the decoding loop of the original goes from position 0 to position 2 (section 10.3)

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Draft:
    """What the decoder makes of a segment: its codes, their latents (1, codes, width) where content is made from them, and
    the generator that the rest of the segment draws from.
    """

    number: int
    segment: Segment
    generation: Generation
    latent: np.ndarray | None
    rng: np.random.Generator


class Synthesis:
    """Makes the audio of segments in two halves that share no graph: `draft` decodes, `chunks` solves and voices.

    So one segment can be decoded while another is voiced; each half serves one segment at a time.
    """

    def __init__(self, engine: Engine, settings: Mapping[str, Any]) -> None:
        self._engine = engine
        self._settings = settings
        self._step: Step = open_step(engine, "decoder")
        self._decoded = engine.manifest.has("semantic_decoder")  # 2.5: content comes from the codes alone

    def draft(
        self, number: int, segment: Segment, voice: Voice, emotion: np.ndarray, request: Resolved, on_progress: Report
    ) -> Draft:
        """Return what the decoder makes of a segment, which draws from a generator of its own, seeded by (seed, number)."""
        rng = np.random.default_rng([request.seed, number])
        prefix = self._prefix(segment, voice, emotion)
        generation = self._decode(prefix, request, rng, on_progress)
        return Draft(number, segment, generation, self._state(prefix, generation), rng)

    def given(self, segment: Segment, codes: np.ndarray, voice: Voice, emotion: np.ndarray, request: Resolved) -> Draft:
        """Return the draft of given codes (n,), as if the decoder had chosen them for `segment`."""
        generation = Generation(codes, 0.0, True, np.zeros_like(codes))
        state = self._state(self._prefix(segment, voice, emotion), generation)
        return Draft(0, segment, generation, state, np.random.default_rng([request.seed, 0]))

    def chunks(self, draft: Draft, voice: Voice, request: Resolved, on_progress: Report) -> Iterator[Chunk]:
        """Yield the audio of a draft: in one chunk, or in chunks of the length that is asked for."""
        rate = self._engine.manifest.sample_rate
        silence = rate * request.silence_ms // 1000
        mel = self.spectrum(draft, voice, request, on_progress)
        size = self._frames(request.chunk_seconds)
        # without frames there is one chunk all the same, for what is said of the segment
        cuts = [range(cut.begin, cut.end) for cut in windows(mel.shape[2], size, 0)] or [range(0)]
        for cut in cuts:
            yield Chunk(
                samples=self._wave(mel, cut),
                sample_rate=rate,
                text=draft.segment.text,
                tokens=len(draft.generation.codes),
                silence=silence if cut is cuts[-1] else 0,
                finished=draft.generation.finished,
                segment=draft.number,
                codes=draft.generation.codes,
            )

    def render(self, draft: Draft, voice: Voice, request: Resolved) -> np.ndarray:
        """Return the audio (samples,) of a draft."""
        mel = self.spectrum(draft, voice, request, lambda *progress: None)
        return self._wave(mel, range(mel.shape[2]))

    def spectrum(self, draft: Draft, voice: Voice, request: Resolved, on_progress: Report) -> np.ndarray:
        """Return the mel (1, bands, frames) of a draft. It draws from the draft's generator, so a draft serves once."""
        codes = draft.generation.codes
        if not len(codes):
            return np.zeros((1, voice.mel.shape[1], 0), np.float32)
        condition = self._condition(self._content(draft), len(codes), request.speed)
        return self._solve(condition, voice, request, draft.rng, on_progress)

    @property
    def _reach(self) -> int:
        """The frames on each side that the vocoder looks at; 0 if the package does not say."""
        return self._engine.manifest.packed(VOCODER).component.reach

    def _frames(self, seconds: float) -> int:
        """Return the frames of mel in so many seconds of audio; 0 if the vocoder of the package cannot be cut."""
        hops = self._engine.manifest.sample_rate / self._settings["mel"]["hop_length"]
        return round(seconds * hops) if self._reach else 0

    def logits(
        self, segment: Segment, codes: np.ndarray, voice: Voice, emotion: np.ndarray, request: Resolved
    ) -> np.ndarray:
        """Return the decoder's logits (codes + 1, vocabulary) before each of given codes (n,) and after the last.

        Step by step through the cache, as the codes would be drawn.
        """
        prefix = self._prefix(segment, voice, emotion)
        decoder = _Decoder(self._step)
        decoder.reset()
        row = np.zeros(1, np.int32)
        found = [decoder(np.concatenate([prefix, self._first()], 1), row)[0]]
        for position, code in enumerate(codes):
            found.append(decoder(self._embed_next(np.array([[code]]), position, request), row)[0])
        return np.concatenate(found).astype(np.float32)

    def _wave(self, mel: np.ndarray, kept: range) -> np.ndarray:
        """Return the audio (samples,) of the frames `kept` of a mel (1, bands, frames)."""
        parts = [np.zeros(0, np.float32)]
        for window in windows(mel.shape[2], self._frames(VOICED_SECONDS), self._reach, kept):
            seen = np.ascontiguousarray(mel[:, :, window.begin : window.end])
            samples = self._engine.run(VOCODER, mel=seen)["waveform"].reshape(-1)
            hop = len(samples) // seen.shape[2]
            parts.append(samples[hop * window.skip : hop * (window.skip + window.count)])
        return np.concatenate(parts)

    def _prefix(self, segment: Segment, voice: Voice, emotion: np.ndarray) -> np.ndarray:
        """Return what the decoder reads before the first code, (1, positions, width)."""
        inputs = {"emotion": emotion, "text_ids": np.array([segment.ids], np.int64)}
        if voice.conditioning is None:
            inputs |= {"style": voice.style, "language": np.array([segment.language], np.int64)}
        else:
            inputs |= {"conditioning": voice.conditioning}
        return self._engine.run("text_embeddings", **inputs)["inputs_embeds"]

    def _embed(self, codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return (rows, columns, width) of codes at positions, both (rows, columns)."""
        ids = {"codes": codes.astype(np.int64), "position_ids": positions.astype(np.int64)}
        return self._engine.run("speech_embeddings", **ids)["inputs_embeds"]

    def _first(self) -> np.ndarray:
        """Return what stands before the first code, (1, 1, width)."""
        return self._embed(np.array([[self._settings["start_speech"]]]), np.zeros((1, 1)))

    def _embed_next(self, codes: np.ndarray, position: int, request: Resolved) -> np.ndarray:
        """Return (rows, 1, width) of the codes (rows, 1) that were drawn as number `position`, counted from 0."""
        skipped = SKIPPED if request.positions == "original" else 0
        return self._embed(codes, np.full(codes.shape, position + 1 + skipped))

    def _decode(self, prefix: np.ndarray, request: Resolved, rng: np.random.Generator, on_progress: Report) -> Generation:
        """Return the codes (n,) without the stop token, and with them the states that drew them, if they are wanted."""
        start, stop = self._settings["start_speech"], self._settings["stop_speech"]
        # the position table of the model is an upper limit of its own
        limit = min(request.max_new_tokens, self._settings["speech_positions"] - 1 - SKIPPED)
        sampling = Sampling(
            do_sample=request.do_sample,
            num_beams=request.num_beams,
            top_p=request.top_p,
            top_k=request.top_k,
            temperature=request.temperature,
            repetition_penalty=request.repetition_penalty,
            length_penalty=request.length_penalty,
            max_new_tokens=limit,
            min_new_tokens=request.min_new_tokens,
        )

        return generate(
            _Decoder(self._step),
            np.concatenate([prefix, self._first()], 1),
            lambda codes, position: self._embed_next(codes, position, request),
            sampling,
            eos_token_id=stop,
            history=[PLACEHOLDER] * prefix.shape[1] + [start],
            rng=rng,
            keep_hidden=request.latents == "step" and not self._decoded,
            on_token=lambda count: on_progress("decoder", count, limit),
        )

    def _state(self, prefix: np.ndarray, generation: Generation) -> np.ndarray | None:
        """Return the latents (1, codes, width) of what was drawn after `prefix`; None where content needs none."""
        if self._decoded or not len(generation.codes):
            return None
        hidden = generation.hidden
        return self._latents(prefix, generation.codes) if hidden is None else hidden[None]

    def _content(self, draft: Draft) -> np.ndarray:
        """Return the content features (1, frames, width) of codes: with their latents in 2.0, decoded in 2.5."""
        row = draft.generation.codes[None]
        if draft.latent is None:
            return self._engine.run("semantic_decoder", codes=row)["content"]
        return self._engine.run("latent_projector", latent=draft.latent, codes=row)["content"]

    def _latents(self, prefix: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the state (1, codes, width) that predicts each code, from a second pass over all of them (section 10.4)."""
        start, stop = self._settings["start_speech"], self._settings["stop_speech"]
        whole = np.array([[start, *codes, stop]])
        speech = self._embed(whole, np.arange(whole.shape[1])[None])
        self._step.reset()
        hidden = self._step(inputs_embeds=np.concatenate([prefix, speech], 1))["last_hidden_state"]
        return np.ascontiguousarray(hidden[:, prefix.shape[1] : prefix.shape[1] + len(codes)])

    def _condition(self, content: np.ndarray, count: int, speed: float) -> np.ndarray:
        """Return the content of `count` codes at the frame rate of the mel, (1, frames, width) (sections 12 and 17)."""
        frames = max(int(count * self._settings["content_per_code"] * self._settings["length_ratio"] / speed), 1)
        index = nearest_index(content.shape[1], frames)
        return self._engine.run("length_regulator", content=content, index=index)["condition"]

    def _solve(
        self, condition: np.ndarray, voice: Voice, request: Resolved, rng: np.random.Generator, on_progress: Report
    ) -> np.ndarray:
        """Return the mel (1, bands, frames) of `condition` (1, frames, width) in the voice (section 13.2)."""
        mel_settings = self._settings["mel"]
        most = round(request.prompt_seconds * mel_settings["sample_rate"] / mel_settings["hop_length"])
        constant = {
            "prompt": np.ascontiguousarray(voice.mel[:, :, -most:]),
            "prompt_mu": np.ascontiguousarray(voice.prompt[:, -most:]),
            "mu": condition,
            "style": voice.style,
        }

        def branches(x: np.ndarray, t: float, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
            asked = {"x": x, "t": np.array([t], np.float32), "branch_mask": mask, "branch_weights": weights}
            return self._engine.run("flow_estimator", **asked, **constant)["velocity"]

        start, end = request.guidance_interval
        return solve(
            request.solver,
            Guided(branches, request.guidance, (start, end), request.guidance_every),
            initial_noise(rng, (1, voice.mel.shape[1], condition.shape[1])),
            sway_times(request.steps, request.sway),
            on_step=lambda step: on_progress("flow_estimator", step, request.steps),
        )


class _Decoder:
    """The decoder step as the decoding loop calls it."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def reset(self) -> None:
        """Forget the sequence."""
        self._step.reset()

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (logits (rows, codes) of the last position, hidden states (rows, positions, width))."""
        result = self._step(beam_idx, inputs_embeds=inputs_embeds)
        logits = result["logits"]
        # a decoder that was not split gives the logits of all positions
        return (logits if logits.ndim == 2 else logits[:, -1]), result["last_hidden_state"]
