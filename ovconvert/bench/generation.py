"""Generation by the decoder alone: a prompt is read and ids follow, by our loop and by engines that know nothing smaller."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert import package
from ovconvert.baselines.peers import PEERS, Converter, Model, open_peer
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.subject import Subject, open_engine
from ovconvert.bench.turns import looker, take_turns
from ovconvert.bench.variants import form_of
from ovconvert.bench.worker import Worker, worker
from ovconvert.disturbance import complaints
from ovconvert.errors import EnvironmentFault, UsageError
from ovconvert.language_model import POSITION_IDS, Parts, parts_of
from ovconvert.machine import describe
from ovconvert.options import Progress
from ovconvert.runtime.cache import Step, open_step
from ovconvert.runtime.decode import Sampling, generate

GENERATION = "generation"
PER_TOKEN, PROMPT = "per token", "prompt"
BEAMS = (1, 3)
PROMPTS = (96,)
NEEDS = {name: peer.needs for name, peer in PEERS.items()}
"""Engines that are measured here alone, and the modules that they need."""
NOTE = (
    "generation: a prompt of drawn ids, another each time, is continued by one id and by several; the first is the prompt's "
    "time, the difference that of the other ids. Nothing ends early, no penalty. What each engine is told and chooses is in "
    "the details. The other engines run a GPT-2 with the same weights; it has one norm and one bias fewer than ours"
)


@dataclass(frozen=True)
class Task:
    """A prompt of so many ids, continued by so many tokens, with so many beams."""

    prompt: int
    tokens: int
    beams: int

    @property
    def case(self) -> str:
        """Return how reports name it."""
        return f"prompt={self.prompt} tokens={self.tokens} beams={self.beams}"


@dataclass(frozen=True)
class Generated:
    """What was measured, by the label of a competitor, and what disturbed it."""

    tables: dict[str, Table]
    disturbances: tuple[str, ...]


class Loop:
    """Our own decoding loop on the language model of a package, as a whole engine would be asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._parts: Parts = parts_of(engine.manifest)
        decoder = self._parts.decoder.name
        packed = engine.manifest.packed(decoder)
        self._step: Step = open_step(engine, decoder)
        self.vocabulary = self._parts.vocabulary
        options = ", ".join(f"{name} {value}" for name, value in sorted(packed.runtime_options.items()))
        self.settings = f"the package's {form_of(packed)} step, weights {packed.weight_format}, {options}"

    def reset(self) -> None:
        """Forget the sequence."""
        self._step.reset()

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (logits (rows, ids) of the last position, hidden states), as the decoding loop asks."""
        result = self._step(beam_idx, **{self._parts.embedded: inputs_embeds})
        logits = result["logits"]
        return (logits if logits.ndim == 2 else logits[:, -1]), result["last_hidden_state"]

    def generate(self, prompt: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return the `tokens` ids of the best sequence after `prompt`."""
        sampling = Sampling(
            do_sample=False, num_beams=beams, repetition_penalty=1.0, max_new_tokens=tokens, min_new_tokens=tokens
        )
        ids = np.array([prompt], np.int64)
        found = generate(
            self,
            self._embed(ids, np.arange(ids.shape[1])[None]),
            lambda codes, position: self._embed(codes, np.full(codes.shape, position)),
            sampling,
            eos_token_id=self.vocabulary - 1,  # never drawn, as `min_new_tokens` forbids it
            history=(),
            rng=np.random.default_rng(0),
            start=ids.shape[1],
        )
        return [int(code) for code in found.codes]

    def _embed(self, ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return (rows, columns, width) of ids at positions, both (rows, columns)."""
        inputs = {self._parts.ids: ids.astype(np.int64), POSITION_IDS: positions.astype(np.int64)}
        embedded: np.ndarray = self._engine.run(self._parts.embeddings.name, **inputs)[self._parts.embedded]
        return embedded


class Generating:
    """A competitor in a process: our loop on an engine, or an engine of its own on the model in `directory`."""

    def __init__(self, subject: Subject, directory: Path | None, threads: int, vocabulary: int, seed: int) -> None:
        subject = replace(subject, threads=threads)
        self._model: Model = (
            Loop(open_engine(subject).engine) if directory is None else open_peer(subject.engine, directory, threads)
        )
        self._vocabulary, self._seed, self._turns = vocabulary, seed, 0

    def turn(self, tasks: Sequence[Task]) -> list[Reading]:
        """Do every task once, with prompts that all competitors get in the same turn and that no turn repeats.

        Raises EnvironmentFault if the engine stops early.
        """
        # an engine may remember what it has read before: no two prompts are alike
        rng = np.random.default_rng([self._seed, self._turns])
        self._turns += 1
        return [reading for task in tasks for reading in timed(self._model, task, partial(self._draw, rng))]

    def _draw(self, rng: np.random.Generator, count: int) -> list[int]:
        return [int(code) for code in rng.integers(0, self._vocabulary, count)]


def timed(
    model: Model, task: Task, draw: Callable[[int], list[int]], clock: Callable[[], float] = time.perf_counter
) -> Iterator[Reading]:
    """Yield the milliseconds of the prompt with its first id, and of each further id. Raises EnvironmentFault as `turn`."""
    taken = []
    for tokens in (1, task.tokens):
        prompt = draw(task.prompt)
        begun = clock()
        found = model.generate(prompt, tokens, task.beams)
        taken.append(clock() - begun)
        if len(found) != tokens:
            raise EnvironmentFault(
                f"{model.settings}: made {len(found)} of {tokens} ids and cannot be compared; use the version that "
                "constraints.txt or the changelog names, or leave this engine out"
            )
    first, whole = taken
    yield Reading(GENERATION, task.case, PROMPT, 1000 * first, "ms", "lower", model.settings)
    each = 1000 * (whole - first) / (task.tokens - 1)
    yield Reading(GENERATION, task.case, PER_TOKEN, each, "ms", "lower", model.settings)


def measure_generation(
    subjects: Sequence[Subject],
    tasks: Sequence[Task],
    *,
    rounds: int,
    seed: int,
    kept: Path | None,
    progress: Progress,
) -> Generated:
    """Return what generation takes with each of the `subjects`, in turns. One turn before the first is not counted.

    Models of other engines are made from the checkpoint and kept below `kept` if given. Raises UsageError if a task is
    longer than the table of positions, and what opening and converting raise.
    """
    machine = describe()
    threads = subjects[0].threads or machine.usable_cores
    vocabulary = parts_of(package.load(subjects[0].package)).vocabulary
    with contextlib.ExitStack() as stack:
        place = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovconvert-peers-")))
        directories = _converted(subjects, tasks, place, progress)
        workers: dict[str, Worker] = {}
        for done, subject in enumerate(subjects):
            progress(f"{GENERATION}, warm-up", done, len(subjects))
            name = subject.label or "the package"
            directory = directories.get(subject.label)
            process = stack.enter_context(worker(name, Generating, subject, directory, threads, vocabulary, seed))
            process.call("turn", tasks)
            workers[subject.label] = process
        found = take_turns(
            {label: partial(process.call, "turn", tasks) for label, process in workers.items()},
            rounds,
            seed=seed,
            look_around=looker(lambda: (process.pid for process in workers.values())),
            what=GENERATION,
            progress=progress,
        )
    return Generated(found.tables, tuple(complaints(found.spells, machine.usable_cores, f"rounds of {GENERATION}")))


def _converted(subjects: Sequence[Subject], tasks: Sequence[Task], place: Path, progress: Progress) -> dict[str, Path]:
    """Return by label the directories of the models of other engines, made in a process that ends before the measurement."""
    peers = [subject for subject in subjects if subject.engine in PEERS]
    found: dict[str, Path] = {}
    if not peers:
        return found
    first = peers[0]
    with worker("conversion for other engines", Converter, first.checkpoint, first.package, place) as process:
        positions = process.call("positions")
        longest = max(task.prompt + task.tokens for task in tasks)
        if longest > positions:
            raise UsageError(
                f"prompt and tokens are up to {longest} positions; the model has {positions}: give shorter --contexts or "
                "fewer --tokens"
            )
        for done, subject in enumerate(peers):
            progress("models of other engines", done, len(peers))
            found[subject.label] = process.call("converted", subject.engine)
    return found
