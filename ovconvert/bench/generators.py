"""What there is to generate with: a language model, a listener, a writer. Each has its sources and its loop of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovconvert import package
from ovconvert.baselines.kinds import LANGUAGE_MODEL, LISTENER, WRITER
from ovconvert.baselines.peers import PEERS, Model
from ovconvert.bench.abilities import LISTENING, SPEAKING, WRITING, Ability, ability_of
from ovconvert.bench.loops import Loop, Program
from ovconvert.bench.sources import Ids, Noise, Recording, Source
from ovconvert.bench.subject import Subject, open_engine
from ovconvert.language_model import parts_of
from ovconvert.runtime import open_listener

LENGTHS = (96,)  # ids of a prompt or of a source, unless told


@dataclass(frozen=True)
class Generator:
    """A row of `GENERATORS`: `kind` as other engines know it, and the ability that its packages have.

    `sources` makes the sources for a package, of lengths in ids or from recordings, `loop` is ours on an engine. `note` says
    what is compared, for a report.
    """

    kind: str
    ability: Ability
    sources: Callable[[Path, Sequence[int], Sequence[Path]], tuple[Source, ...]]
    loop: Callable[[Any], Model]
    note: str

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of the other engines that generate with such packages."""
        return tuple(name for name, peer in PEERS.items() if peer.knows(self.kind))

    def opened(self, subject: Subject) -> Model:
        """Return what a subject generates with: our loop on its engine, or the engine's own model if it brings one."""
        engine = open_engine(subject).engine  # not watched: a record of all calls would cost a little with every id
        own = getattr(engine, "model", None)
        model: Model = own() if own else self.loop(engine)
        return model


def _prompts(package_dir: Path, lengths: Sequence[int], recordings: Sequence[Path]) -> tuple[Source, ...]:
    vocabulary = parts_of(package.load(package_dir)).vocabulary
    return tuple(Ids("prompt", length, vocabulary) for length in lengths or LENGTHS)


def _texts(package_dir: Path, lengths: Sequence[int], recordings: Sequence[Path]) -> tuple[Source, ...]:
    components = [packed.component for packed in package.load(package_dir).components]
    logits = next(port for component in components for port in component.outputs if port.name == "logits")
    return tuple(Ids("source", length, int(logits.shape[-1])) for length in lengths or LENGTHS)


def _sounds(package_dir: Path, lengths: Sequence[int], recordings: Sequence[Path]) -> tuple[Source, ...]:
    size = open_listener(package_dir).window, package.load(package_dir).sample_rate
    return tuple(Recording(path, *size) for path in recordings) or (Noise(*size),)


GENERATORS = (
    Generator(
        LANGUAGE_MODEL,
        SPEAKING,
        _prompts,
        Loop,
        "A prompt is of drawn ids, another each time. The other engines run a GPT-2 with the same weights; it has one norm "
        "and one bias fewer than ours",
    ),
    Generator(
        LISTENER,
        LISTENING,
        _sounds,
        Program,
        "A prompt is one window of samples, noise that is drawn anew each time or the beginning of a recording: front end, "
        "encoder and the tokens that say what to do are in its time. The other engines run the same checkpoint, OpenVINO "
        "GenAI what optimum-intel exported; CTranslate2 has no front end and is given that of transformers",
    ),
    Generator(
        WRITER,
        WRITING,
        _texts,
        Program,
        "A prompt is a source of drawn ids, another each time: the encoder is in its time. The other engines run the same "
        "checkpoint",
    ),
)


def generator_for(ability: Ability) -> Generator:
    """Return what packages of an ability generate with."""
    return next(generator for generator in GENERATORS if generator.ability is ability)


def generator_of(package_dir: Path) -> Generator:
    """Return what a package generates with."""
    return generator_for(ability_of(package.load(package_dir).family))
