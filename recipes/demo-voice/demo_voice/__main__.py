"""Commands of the recipe: `python -m demo_voice --help`, from the directory of its README."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

HERE = Path(__file__).parents[1]
WORK = click.option(
    "--work", type=click.Path(path_type=Path), default=Path("build/demo-voice"), show_default=True, help="Corpus and states."
)
SEED = click.option("--seed", default=0, show_default=True, help="Seed of corpus, weights and batches.")


@click.group()
@click.option("--threads", default=1, show_default=True, help="Threads of a training; two trainings of one thread go best.")
def main(threads: int) -> None:
    """Make the demo voice: corpus, trainings, checkpoint, figures."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    import torch

    torch.set_num_threads(threads)


@main.command()
@WORK
@SEED
@click.option("--utterances", default=10000, show_default=True, help="To train on.")
@click.option("--held-out", default=480, show_default=True, help="To test with, of texts that training never sees.")
def corpus(work: Path, seed: int, utterances: int, held_out: int) -> None:
    """Let flite speak the corpus."""
    from demo_voice import corpus as made

    with click.progressbar(length=utterances + held_out, label="utterances") as bar:
        made.make(work, utterances, held_out, seed, lambda done, total: bar.update(done - bar.pos))


@main.command()
@WORK
@SEED
@click.argument("names", nargs=-1)
def train(work: Path, seed: int, names: tuple[str, ...]) -> None:
    """Run the trainings NAMES (all, if none is named) in their order, each from where it left off."""
    from demo_voice.steps import STEPS

    known = [step.name for step in STEPS]
    strange = [name for name in names if name not in known]
    if strange:
        raise click.UsageError(f"no training named {', '.join(strange)}; have: {', '.join(known)}")
    for step in STEPS:
        if not names or step.name in names:
            step.run(work, step.steps, seed)


@main.command()
@WORK
@click.option("--dest", type=click.Path(path_type=Path), default=HERE / "checkpoint", show_default=True)
def assemble(work: Path, dest: Path) -> None:
    """Write the checkpoint directory from the trained networks."""
    from demo_voice.assemble import assemble as write

    write(work, dest)
    size = sum(path.stat().st_size for path in dest.rglob("*") if path.is_file())
    click.echo(f"{dest}: {size / 1e6:.1f} MB")


@main.command()
@WORK
@click.option("--checkpoint", type=click.Path(path_type=Path), default=HERE / "checkpoint", show_default=True)
@click.option("--package", type=click.Path(path_type=Path), required=True, help="Package made from the checkpoint.")
@click.option("--only", multiple=True, help="Kinds of audio: corpus, vocoder, flow, original, graphs, ... (default: all).")
@click.option("--audio/--no-audio", default=True, help="Make the audio that is not there yet.")
@click.option("--measures/--no-measures", default=True, help="Measure it.")
@click.option("--processes", default=2, show_default=True, help="Processes that measure.")
def figures(
    work: Path, checkpoint: Path, package: Path, only: tuple[str, ...], audio: bool, measures: bool, processes: int
) -> None:
    """Synthesise the test set in every way and measure it, for the model card."""
    from demo_voice.figures import Figures

    made = Figures(work, checkpoint, package, HERE / "testset", _show)
    names = only or made.names()
    if audio:
        made.synthesise(names)
    if measures:
        made.measure(names, processes)
        made.agreement()


@main.command()
@WORK
@click.option("--checkpoint", type=click.Path(path_type=Path), default=HERE / "checkpoint", show_default=True)
def card(work: Path, checkpoint: Path) -> None:
    """Write the model card from the figures, and the samples."""
    from demo_voice import card as text
    from demo_voice import samples

    text.write(work, HERE / "card.md", checkpoint)
    samples.write(work / "figures", HERE / "samples")


@main.command()
@click.option("--package", type=click.Path(path_type=Path), required=True, help="Package made from the checkpoint.")
@click.option("--checkpoint", type=click.Path(path_type=Path), default=HERE / "checkpoint", show_default=True)
@click.option("--utterances", default=32, show_default=True, help="Recordings of the test set whose codes are solved.")
@click.option("--dest", type=click.Path(path_type=Path), required=True, help="Markdown file for the table.")
def solvers(package: Path, checkpoint: Path, utterances: int, dest: Path) -> None:
    """Measure what fewer evaluations of the flow cost, by solver, schedule, guidance and prompt."""
    from demo_voice import solvers as study
    from demo_voice import testset

    rows = testset.spoken(HERE / "testset")[:utterances]
    found = study.measure(package, rows, checkpoint / "voices", lambda done, total: _show("settings", done, total))
    dest.write_text(study.table(found), encoding="utf-8")


@main.command()
@WORK
@SEED
def quick(work: Path, seed: int) -> None:
    """Train everything for a few steps on the shipped test recordings, in about a minute; fail unless all losses fall.

    No flite is needed. What comes out does not speak.
    """
    from demo_voice import small_corpus
    from demo_voice.steps import STEPS

    small_corpus.make(work, HERE / "testset")
    risen = []
    for step in STEPS:
        step.run(work, step.quick, seed)
        rows = [json.loads(line) for line in (work / step.name / "losses.jsonl").read_text(encoding="utf-8").splitlines()]
        first, last = rows[0][step.falls], rows[-1][step.falls]
        click.echo(f"{step.name}: {step.falls} {first:.3f} -> {last:.3f}")
        if not last < first:
            risen.append(step.name)
    if risen:
        raise click.ClickException(f"the losses of {', '.join(risen)} did not fall")


def _show(what: str, done: int, total: int) -> None:
    click.echo(f"\r{what} {done}/{total}", nl=done == total, err=True)


if __name__ == "__main__":
    main()
