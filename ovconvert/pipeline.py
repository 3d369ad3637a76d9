"""Runs the steps of a recipe, reuses what is finished, and tells beforehand what it would do.

A step's directory is named by a hash of what it reads, its verb, its options and the versions of the tools; a source
from outside enters with its content. A changed step, and all that read it, therefore run again; a killed run goes on
where it stopped, because a step is finished only when its `step.json` is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import ovconvert
from ovconvert import fields, report
from ovconvert.errors import UsageError
from ovconvert.machine import installed
from ovconvert.options import Progress, silent
from ovconvert.package import REFUSED_WRITES, refuse_existing, sha256, write_fault
from ovconvert.perform import gate, judge, perform
from ovconvert.recipe import DELIVERY, Recipe, Step, reference
from ovconvert.verbs import ARTIFACTS

MARK = "pipeline.json"
STEPS = "steps"
FINISHED = "step.json"
KEY_DIGITS = 16
DELIVERED = ("audio", "report")  # what makes of step output is also copied to the top of the output directory
TIMING_ONLY = ("threads", "cache_dir", "timings")  # options that do not change what a step makes
REPORTS = (".json", ".md", ".xml")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """A step with its place: what it reads, where it writes, and whether that is there already."""

    step: Step
    key: str
    directory: Path
    source: Path | None
    options: Any
    reuse: bool

    @property
    def artifact(self) -> Path:
        """Return what the step makes."""
        return self.directory / ARTIFACTS[self.step.verb.makes]


def plan(recipe: Recipe, output: Path) -> tuple[Task, ...]:
    """Return the tasks of `recipe` below `output`. Raises UsageError if a file that a step reads is gone."""
    tools = tool_versions()
    tasks: dict[str, Task] = {}
    for step in recipe.steps:
        options, identity = _resolve_options(step, recipe.directory, tasks)
        source, origin = _resolve(step.source, recipe.directory, tasks)
        key = digest({"verb": step.verb.name, "source": origin, "options": identity, "tools": tools})
        directory = output / STEPS / f"{step.name}-{key}"
        task = Task(step, key, directory, source, options, reuse=False)
        finished = (directory / FINISHED).is_file() and task.artifact.exists()
        tasks[step.name] = dataclasses.replace(task, reuse=finished)
    return tuple(tasks.values())


def run(recipe: Recipe, output: Path, progress: Progress = silent, say: Say = lambda line: None) -> tuple[Path, ...]:
    """Run the steps of `recipe` that are not finished; return the files that the user came for.

    Raises what a step raises; the judge of a step that falls short has written its report then. Raises UsageError if
    `output` is a directory that no recipe made.
    """
    if not (output / MARK).is_file():
        refuse_existing(output, force=False)
    tasks = plan(recipe, output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write(output / MARK, {"recipe": recipe.name, "steps": [task.directory.name for task in tasks]})
    except OSError as error:
        raise write_fault(output, error) from error
    delivered: list[Path] = []
    for number, task in enumerate(tasks, 1):
        state = "reused" if task.reuse else "running"
        begun = time.perf_counter()
        say(f"step {number}/{len(tasks)} {task.step.name}: {state} ({task.directory.name})")
        found = None if task.reuse else _run_task(task, progress)
        delivered += _deliver(task, output)
        if found is not None:
            for path in delivered[-len(REPORTS) :]:
                say(f"report: {path}")
            gate(task.step.verb, found)
        if not task.reuse:
            _finish(task, time.perf_counter() - begun)
    return tuple(delivered)


def tool_versions() -> dict[str, str]:
    """Return the versions that results depend on: of the tools, and the digest of our own source."""
    root = Path(ovconvert.__file__).parent
    own = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        own.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return {**installed(), "ovconvert": f"{ovconvert.__version__}+{own.hexdigest()[:12]}"}


def digest(value: object) -> str:
    """Return a short stable hash of plain data."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:KEY_DIGITS]


def content(path: Path) -> str:
    """Return the digest of a file's bytes, or of the names and bytes of all files in a directory."""
    if path.is_file():
        return sha256(path)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    return digest({item.relative_to(path).as_posix(): sha256(item) for item in files})


def _resolve(text: str | None, directory: Path, tasks: Mapping[str, Task]) -> tuple[Path | None, str]:
    """Return (path, identity) of what a step names: an earlier step's key, or the content of a path."""
    if text is None:
        return None, ""
    named = reference(text)
    if named:
        task = tasks[named[0]]
        path = task.artifact / named[1] if named[1] else task.artifact
        return path, f"{task.key}/{named[1]}"
    path = directory / text
    if not path.exists():
        raise UsageError(f"{path}: no such file or directory")
    return path, content(path)


def _resolve_options(step: Step, directory: Path, tasks: Mapping[str, Task]) -> tuple[Any, dict[str, object]]:
    """Return the options with real paths, and what of them decides the result."""
    changes: dict[str, object] = {}
    identity: dict[str, object] = {}
    for field in fields.read(type(step.options)):
        value = getattr(step.options, field.name)
        plain = value
        if field.base is Path and value is not None:
            items = value if field.several else (value,)
            resolved = [_resolve(str(item), directory, tasks) for item in items]
            paths = tuple(path for path, _ in resolved)
            changes[field.name] = paths if field.several else paths[0]
            plain = [origin for _, origin in resolved]
        if field.name not in (*DELIVERY, *TIMING_ONLY):
            identity[field.name] = plain
    return dataclasses.replace(step.options, **changes), identity


def _run_task(task: Task, progress: Progress) -> report.Report | None:
    """Run one step in a fresh directory; return the report if it judges."""
    verb = task.step.verb
    try:
        if task.directory.exists():
            shutil.rmtree(task.directory)  # of a run that was killed, or of a judge that said no
        task.directory.mkdir(parents=True)
    except OSError as error:
        raise write_fault(task.directory, error) from error
    if verb.judges:
        assert task.source is not None
        reports = [task.artifact.with_suffix(suffix) for suffix in REPORTS]
        return judge(verb, task.source, reports, task.options, progress)
    perform(verb, task.source, task.artifact, task.options, progress)
    return None


def _finish(task: Task, seconds: float) -> None:
    """Mark a step finished: from now on it is reused."""
    _write(task.directory / FINISHED, {"verb": task.step.verb.name, "key": task.key, "seconds": round(seconds, 3)})


def _deliver(task: Task, output: Path) -> list[Path]:
    """Copy what the user came for, audio and reports, to the top of `output`; return the copies."""
    if task.step.verb.makes not in DELIVERED:
        return []
    suffixes = REPORTS if task.step.verb.judges else (task.artifact.suffix,)
    copies = []
    for suffix in suffixes:
        copy = output / f"{task.step.name}{suffix}"
        _copy(task.artifact.with_suffix(suffix), copy)
        copies.append(copy)
    return copies


def _copy(source: Path, dest: Path) -> None:
    partial = dest.with_name(dest.name + ".partial")
    try:
        shutil.copyfile(source, partial)
        os.replace(partial, dest)
    except OSError as error:
        if error.errno not in REFUSED_WRITES:
            raise
        raise write_fault(dest, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, data: object) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(data, order="sorted"), indent=2) + b"\n")
    os.replace(partial, path)


def describe(tasks: tuple[Task, ...]) -> list[str]:
    """Return one line per task: what would run, what is reused, and where it lies."""
    return [f"{'reuse' if task.reuse else 'run  '}  {task.step.name}  {task.artifact}" for task in tasks]
