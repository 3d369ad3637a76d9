"""Draws token sequences from a decoder step: greedy, sampling, beam search and stochastic beam search.

The rules are those of the original (spec section 11), which are Hugging Face's: repetition penalty, temperature, top-k,
top-p, in this order; on logits with one beam, on log-probabilities with more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ovconvert.errors import QualityError, UsageError, listing

OUT_OF_PLAY = np.float32(-1e9)  # score of a beam that no other may lose against, yet finite

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (scores (B, V), codes so far (B, n)) -> scores, -inf where excluded
Embed = Callable[[np.ndarray, int], np.ndarray]  # (codes int64 (B, 1), position of these codes) -> (B, 1, D)


class Step(Protocol):
    """A decoder that remembers what it has read."""

    def reset(self) -> None:
        """Forget the sequences."""

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read (B, S, D), row b continuing row `beam_idx` (B,) int32 of the last call.

        Return (logits (B, V) of the last position, hidden states (B, S, D)).
        """


@dataclass(frozen=True)
class Sampling:
    """How codes are chosen; the defaults are the original's. Raises UsageError listing every value out of range.

    `top_k` 0 keeps all codes. The end is forbidden before `min_new_tokens` codes. Beams stop once no candidate is better
    than what is kept; `ends_compete` says whether an end that was just kept still counts as such a candidate, as it does in
    the original and no longer does in Hugging Face's beam search of version 5.
    """

    do_sample: bool = True
    num_beams: int = 3
    top_p: float = 0.8
    top_k: int = 30
    temperature: float = 0.8
    repetition_penalty: float = 10.0
    length_penalty: float = 0.0
    max_new_tokens: int = 1500
    min_new_tokens: int = 0
    ends_compete: bool = True

    def __post_init__(self) -> None:
        checks = (
            ("num_beams", self.num_beams >= 1, "1 or more"),
            ("top_p", 0.0 <= self.top_p <= 1.0, "0 to 1"),
            ("top_k", self.top_k >= 0, "0 (keep all) or more"),
            ("temperature", 0.0 < self.temperature < np.inf, "above 0; for no randomness set do_sample to False"),
            ("repetition_penalty", 0.0 < self.repetition_penalty < np.inf, "above 0; 1 is no penalty"),
            ("length_penalty", bool(np.isfinite(self.length_penalty)), "a finite number"),
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
            ("min_new_tokens", 0 <= self.min_new_tokens <= self.max_new_tokens, "0 to max_new_tokens"),
        )
        problems = [f"{name} is {getattr(self, name)}; allowed: {allowed}" for name, ok, allowed in checks if not ok]
        if problems:
            raise UsageError(listing("sampling settings cannot be used:", problems))


@dataclass(frozen=True)
class Generation:
    """What was drawn.

    `codes` int64 (n,), the end token left out. `score`: with beams the winner's, which is the sum of its processed
    log-probabilities, end included, over length ** length_penalty; with one beam that sum alone. `finished`: the end
    token was drawn, not the limit reached. `parents` int64 (n,): the beam of the step before that each code continues.
    `hidden` float32 (n, D), if asked for: the state that predicted each code, followed along the winner's ancestry.
    """

    codes: np.ndarray
    score: float
    finished: bool
    parents: np.ndarray
    hidden: np.ndarray | None = None


def generate(
    step: Step,
    prefix_embeds: np.ndarray,
    embed: Embed,
    sampling: Sampling,
    *,
    eos_token_id: int,
    history: Sequence[int],
    rng: np.random.Generator,
    start: int = 0,
    keep_hidden: bool = False,
    on_token: Callable[[int], None] | None = None,
    rule: Rule | None = None,
) -> Generation:
    """Return the codes that `step` gives after `prefix_embeds` (1, S, D), start token included.

    `history` are the ids that count as occurred before the first code (section 11). Code k is embedded with position
    `start` + k. `on_token` is called with the number of steps done. The last code is never read by `step`. `rule`
    excludes codes by what was drawn before, ahead of all other rules. Raises QualityError if the step gives NaN.
    """
    decode = _beams if sampling.num_beams > 1 else _single
    step.reset()
    logits, hidden = step(prefix_embeds, np.zeros(1, np.int32))
    seen = np.zeros((1, logits.shape[1]), bool)
    seen[:, list(history)] = True
    run = _Run(step, embed, sampling, eos_token_id, rng, start, keep_hidden, on_token, rule)
    run.note(logits, hidden)
    return decode(run, logits, seen)


@dataclass
class _Run:
    """What stays the same during one generation, and the trace of it: per step codes and parents of every beam."""

    step: Step
    embed: Embed
    sampling: Sampling
    eos: int
    rng: np.random.Generator
    start: int
    keep_hidden: bool
    on_token: Callable[[int], None] | None
    rule: Rule | None = None
    codes: list[np.ndarray] = field(default_factory=list)
    parents: list[np.ndarray] = field(default_factory=list)
    hidden: list[np.ndarray] = field(default_factory=list)

    def note(self, logits: np.ndarray, hidden: np.ndarray) -> None:
        """Keep the states of the last position, if asked for. Raises QualityError for logits that are no numbers."""
        if np.isnan(logits).any():
            raise QualityError(f"the decoder gives NaN at step {len(self.codes)}; its precision overflows: try float32")
        if self.keep_hidden:
            self.hidden.append(np.array(hidden[:, -1], np.float32))

    def choose(self, codes: np.ndarray, parents: np.ndarray) -> None:
        """Record the choice of this step."""
        self.codes.append(codes)
        self.parents.append(parents)
        if self.on_token:
            self.on_token(len(self.codes))

    def ruled(self, scores: np.ndarray) -> np.ndarray:
        """Return `scores` (B, V) after the caller's rule, which sees what each row has drawn."""
        if self.rule is None:
            return scores
        drawn, rows = [], np.arange(len(scores))
        for codes, parents in zip(reversed(self.codes), reversed(self.parents), strict=True):
            drawn.append(codes[rows])
            rows = parents[rows]
        return self.rule(scores, np.array(drawn[::-1], np.int64).reshape(len(drawn), len(scores)).T)

    def advance(self) -> np.ndarray:
        """Read the codes chosen last; return logits (B, V)."""
        # after the prefix the step has one row, which all beams continue
        parents = self.parents[-1] if len(self.parents) > 1 else np.zeros_like(self.parents[-1])
        embedded = self.embed(self.codes[-1][:, None], self.start + len(self.codes) - 1)
        logits, hidden = self.step(embedded, parents.astype(np.int32))
        self.note(logits, hidden)
        return logits

    def trace(self, length: int, beam: int, score: float, finished: bool) -> Generation:
        """Return the sequence of `length` codes that stands in `beam` after as many steps."""
        codes, parents = np.zeros(length, np.int64), np.zeros(length, np.int64)
        rows = []
        for index in reversed(range(length)):
            codes[index], parents[index] = self.codes[index][beam], self.parents[index][beam]
            beam = int(parents[index])
            if self.keep_hidden:
                rows.append(self.hidden[index][beam if index else 0])
        width = self.hidden[0].shape[1] if self.keep_hidden else 0
        hidden = np.array(rows[::-1], np.float32).reshape(length, width) if self.keep_hidden else None
        return Generation(codes, score, finished, parents, hidden)


def _single(run: _Run, logits: np.ndarray, seen: np.ndarray) -> Generation:
    """One sequence (section 11.2)."""
    sampling, score = run.sampling, 0.0
    origin = np.zeros(1, np.int64)
    for count in range(sampling.max_new_tokens):
        scores = processed(run.ruled(logits), seen, sampling, forbid=run.eos if count < sampling.min_new_tokens else None)
        chosen = _draw(scores[0], 1, run.rng) if sampling.do_sample else np.argmax(scores, axis=1)
        score += float(log_softmax(scores)[0, chosen[0]])
        if chosen[0] == run.eos:
            return run.trace(count, 0, score, finished=True)
        run.choose(chosen, origin)
        seen[0, chosen] = True
        if count + 1 < sampling.max_new_tokens:
            logits = run.advance()
    return run.trace(sampling.max_new_tokens, 0, score, finished=False)


@dataclass(frozen=True)
class _Hypothesis:
    score: float
    length: int  # codes, end token not counted
    beam: int  # where it stands after `length` steps
    finished: bool


def _beams(run: _Run, logits: np.ndarray, seen: np.ndarray) -> Generation:
    """Beam search, stochastic or not (section 11.1)."""
    sampling, width = run.sampling, run.sampling.num_beams
    beam_scores = np.full(width, OUT_OF_PLAY, np.float32)
    beam_scores[0] = 0.0
    logits, seen = np.repeat(logits, width, 0), np.repeat(seen, width, 0)
    kept: list[_Hypothesis] = []
    for count in range(sampling.max_new_tokens):
        forbidden = run.eos if count < sampling.min_new_tokens else None
        scores = processed(run.ruled(log_softmax(logits)), seen, sampling, forbid=forbidden) + beam_scores[:, None]
        flat = scores.reshape(-1)
        drawn = _draw(flat, 2 * width, run.rng) if sampling.do_sample else _top(flat, 2 * width)
        drawn = drawn[np.argsort(-flat[drawn], kind="stable")]
        parents, codes = np.divmod(drawn, logits.shape[1])
        length = float(count + 1) ** sampling.length_penalty
        for beam, score in ((parents[rank], flat[drawn[rank]]) for rank in np.flatnonzero(codes[:width] == run.eos)):
            kept = _keep(kept, _Hypothesis(float(score) / length, count, int(beam), True), width)
        going = np.flatnonzero(codes != run.eos)[:width]
        rivals = drawn if sampling.ends_compete else drawn[going]
        if not len(rivals) or (len(kept) == width and kept[-1].score >= float(flat[rivals[0]]) / length):
            break
        if not len(going):  # fewer candidates than beams, and every one of them an end
            break
        # missing candidates: the last one again, out of play
        going = np.pad(going, (0, width - len(going)), mode="edge")
        beam_scores = flat[drawn[going]].astype(np.float32)
        beam_scores[len(np.unique(going)) :] = OUT_OF_PLAY
        codes, parents = codes[going], parents[going]
        run.choose(codes, parents)
        seen = seen[parents]
        seen[np.arange(width), codes] = True
        if count + 1 < sampling.max_new_tokens:
            logits = run.advance()
    else:
        length = float(sampling.max_new_tokens) ** sampling.length_penalty
        for beam, score in enumerate(beam_scores):
            kept = _keep(kept, _Hypothesis(float(score) / length, sampling.max_new_tokens, beam, False), width)
    best = kept[0] if kept else _Hypothesis(float(beam_scores[0]), len(run.codes), 0, False)
    return run.trace(best.length, best.beam, best.score, best.finished)


def _keep(kept: list[_Hypothesis], new: _Hypothesis, width: int) -> list[_Hypothesis]:
    """Return the `width` best, best first; of equals the earlier."""
    return sorted([*kept, new], key=lambda hypothesis: -hypothesis.score)[:width]


def processed(scores: np.ndarray, seen: np.ndarray, sampling: Sampling, *, forbid: int | None = None) -> np.ndarray:
    """Return float32 (B, V): logits or log-probabilities `scores` after every rule, -inf where a code is excluded.

    `seen` bool (B, V) marks the codes that occurred. Temperature, top-k and top-p apply only to sampling.
    """
    result = np.array(scores, np.float32)
    if sampling.repetition_penalty != 1.0:
        penalty = np.float32(sampling.repetition_penalty)
        marked = result[seen]
        result[seen] = np.where(marked < 0, marked * penalty, marked / penalty)
    if forbid is not None:
        result[:, forbid] = -np.inf
    if not sampling.do_sample:
        return result
    result /= np.float32(sampling.temperature)
    least = 1 if sampling.num_beams == 1 else 2
    if sampling.top_k:
        count = min(max(sampling.top_k, least), result.shape[1])
        threshold = np.partition(result, -count, axis=1)[:, -count]
        result[result < threshold[:, None]] = -np.inf
    if sampling.top_p < 1.0:
        for row in result:
            _cut_tail(row, np.float32(1.0 - sampling.top_p), least)
    return result


def _cut_tail(row: np.ndarray, mass: np.float32, least: int) -> None:
    """Exclude in place the least likely codes that together have at most `mass`, but leave `least`."""
    codes = np.flatnonzero(row > -np.inf)
    codes = codes[np.argsort(row[codes], kind="stable")]
    likely = np.cumsum(softmax(row[codes]), dtype=np.float32)
    row[codes[: max(len(codes) - least, 0)][likely[: max(len(codes) - least, 0)] <= mass]] = -np.inf


def _draw(scores: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return up to `count` indices drawn without replacement with probabilities softmax(`scores` (n,)); never a -inf.

    Adding Gumbel noise and taking the largest is that draw, exactly, and needs no probability that rounds to zero.
    """
    candidates = np.flatnonzero(scores > -np.inf)
    keys = scores[candidates].astype(np.float64) + rng.gumbel(size=len(candidates))
    chosen: np.ndarray = candidates[_top(keys, count)]
    return chosen


def _top(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of up to `count` largest finite entries of `scores` (n,), largest first; of equals the first."""
    if count < len(scores):
        threshold = np.partition(scores, -count)[-count]
        indices = np.flatnonzero((scores >= threshold) & (scores > -np.inf))
    else:
        indices = np.flatnonzero(scores > -np.inf)
    ranked: np.ndarray = indices[np.argsort(-scores[indices], kind="stable")]
    return ranked[:count]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return float32 log-probabilities over the last axis."""
    shifted = np.asarray(logits, np.float32) - np.max(logits, axis=-1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result.astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return float32 probabilities over the last axis."""
    result: np.ndarray = np.exp(log_softmax(logits))
    return result
