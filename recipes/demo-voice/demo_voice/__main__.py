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


if __name__ == "__main__":
    main()
