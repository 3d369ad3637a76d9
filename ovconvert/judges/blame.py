"""Find what a package owes its loss to: which component, and which of its layers.

Components take the place of the reference's one at a time, and are ranked by how much worse the speech becomes (MOS proxy,
same codes and noise), then by the outputs on calls of the reference's run. In the guilty one the weights of layers are put
into the reference's graph, in halves and halves of halves, until the costliest are known. Nothing is asked: it ends with 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ovconvert import calibration, package
from ovconvert.blame.components import Ranking, Share, differing, weigh
from ovconvert.blame.inputs import capture
from ovconvert.blame.layers import Inquiry, Suspect, inquire
from ovconvert.blame.outputs import common_form, decibels
from ovconvert.blame.reference import as_package
from ovconvert.blame.weights import ODD, Odd, distances, odd_ones
from ovconvert.errors import UsageError, listing
from ovconvert.machine import describe
from ovconvert.options import Progress, option, silent
from ovconvert.package import Manifest
from ovconvert.quality import texts
from ovconvert.quality.speaking import Prompt
from ovconvert.report import Measurement, Report, Summary, figure
from ovconvert.runtime import find_program
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.request import Request

JUDGE = "blame"
NAMED = 3  # layers of a group that are named in a table


@dataclass(frozen=True)
class Options(Request):
    """A request, what is spoken, and how far to look."""

    reference: Path | None = option(None, "Package, or checkpoint (which is exported in fp32), that is as it should be.")
    texts: Path | None = option(None, "File with the texts to speak, UTF-8, one a line (default: the shipped ones).")
    voices: tuple[Path, ...] = option((), "Recordings of voices, files or folders, comma-separated; texts take turns.")
    utterances: int = option(4, "Speak only the first so many texts.")
    samples: int = option(8, "Most calls of each component on which outputs are compared.")
    components: tuple[str, ...] = option((), "Components whose layers are looked into (default: the costliest one).")
    layers: int = option(5, "Layers to name, the costliest first.")
    threads: int | None = option(None, "Threads of the inference engines (default: the engine decides).")


def requires(package_dir: Path, options: Options) -> list[str]:
    """Return what is wrong with the numbers, the reference, the components, the texts and the voices."""
    manifest = package.load(package_dir)
    names = ("utterances", "samples", "layers", "threads")
    given = [(name, getattr(options, name)) for name in names]
    problems = [f"{name} {value}: at least 1" for name, value in given if value is not None and value < 1]
    have = [packed.component.name for packed in manifest.components]
    problems += [
        f"no component {name!r} in the package; have: {', '.join(have)}" for name in options.components if name not in have
    ]
    if options.voice is not None:
        problems.append("give the voices with --voices, not --voice")
    program = find_program(manifest.family)
    if not all(hasattr(program, method) for method in ("stream", "render", "logits")):
        problems.append(f"packages of the family {manifest.family!r} do not speak given codes, which blame compares")
    problems += _reference_problems(manifest, options.reference)
    try:
        _prompts(package_dir, options)
    except UsageError as error:
        problems.append(str(error))
    return problems


def run(package_dir: Path, options: Options, progress: Progress = silent) -> Report:
    """Return the components of the package that differ from the reference's by what they cost, and the guilty one's layers.

    Raises IntegrityError if either package is damaged, and what the program raises for a text or voice that it cannot take.
    """
    manifest = package.load(package_dir)
    package.verify(package_dir)
    assert options.reference is not None  # required
    with as_package(options.reference, manifest, progress) as reference_dir:
        if reference_dir == options.reference:
            package.verify(reference_dir)
        reference, other = (Engine(place, threads=options.threads) for place in (reference_dir, package_dir))
        _require_one_architecture(reference.manifest, other.manifest)
        names = differing(reference.manifest, other.manifest)
        equal = [packed.component.name for packed in manifest.components if packed.component.name not in names]
        notes = [f"the same files on both sides, so not to blame: {', '.join(equal)}"] if equal else []
        if not names:
            return _report(package_dir, options, [], [], [*notes, "nothing differs but, perhaps, assets and settings"])
        prompts = _prompts(package_dir, options)
        request = Request(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Request)})
        calls = capture(reference_dir, prompts, request, options.samples, options.threads, progress)
        odd = odd_ones(distances(reference, other, names, progress))
        strange = {name: {one.distance.layer for one in odd if one.distance.component == name} for name in names}
        broken = {name for name, layers in strange.items() if layers}
        ranking = weigh(reference, other, names, calls, prompts, request, broken, progress)
        unheard = [name for name in names if not calls[name].heard]
        notes += _excuses(ranking)
        notes += [f"not used by these texts, so compared on golden inputs alone: {', '.join(unheard)}"] if unheard else []
        inquiries = {
            name: inquire(reference, other, name, calls[name], options.layers, strange[name], progress)
            for name in options.components or (ranking.shares[0].name,)
            if name in names and common_form(reference.manifest.packed(name), other.manifest.packed(name))
        }
    notes += [
        f"{name}: its layers were not exchanged: it is the same in both, or has no form without a state"
        for name in options.components
        if name not in inquiries
    ]
    notes += [f"{name}: {note}" for name, inquiry in inquiries.items() for note in inquiry.notes]
    rows = [*_rows(ranking, manifest, len(prompts))]
    rows += [row for name, inquiry in inquiries.items() for row in _layer_rows(name, inquiry)]
    rows += map(_odd_row, odd)
    summaries = [_component_table(ranking), *(_layer_table(*item) for item in inquiries.items()), *_odd_table(odd)]
    return _report(package_dir, options, rows, summaries, notes)


def _prompts(package_dir: Path, options: Options) -> tuple[Prompt, ...]:
    """Return what is to be spoken. Raises UsageError if there are no texts or no voices."""
    lines = texts.of_file(options.texts) if options.texts else texts.shipped()
    held = [path for path in (package_dir / package.ASSETS).rglob("*") if path.suffix.lower() in texts.RECORDINGS]
    return texts.prompts(lines[: options.utterances], texts.recordings(options.voices or sorted(held)))


def _reference_problems(manifest: Manifest, place: Path | None) -> list[str]:
    if place is None:
        return ["give what is as it should be with --reference: a package, or the checkpoint"]
    if not place.is_dir():
        return [f"reference {place}: no such package or checkpoint"]
    if not (place / package.MANIFEST).is_file():
        return [] if find_spec("torch") else [f"reference {place} is no package, and a checkpoint needs torch"]
    return _misfits(package.load(place), manifest)


def _misfits(reference: Manifest, manifest: Manifest) -> list[str]:
    if calibration.architecture(reference) == calibration.architecture(manifest):
        return []
    return [
        f"the reference is another model ({reference.family} {reference.variant}), or was exported in another form: "
        "components are exchanged one by one, so both need the same ones"
    ]


def _require_one_architecture(reference: Manifest, manifest: Manifest) -> None:
    """Raise UsageError if components cannot be exchanged; of a checkpoint it is known only once it is exported."""
    problems = _misfits(reference, manifest)
    if problems:
        raise UsageError(listing("blame cannot start:", problems))


def _excuses(ranking: Ranking) -> list[str]:
    """Return what is said of utterances in which the reference itself failed."""
    failed = [found for found in ranking.excused if found]
    if not failed:
        return []
    evidence = sorted({f"{failure.name}: {failure.evidence}" for found in failed for failure in found})
    return [
        f"the reference itself failed in {len(failed)} of {len(ranking.excused)} utterances ({'; '.join(evidence)}): "
        "such failures are held against no component there, and its codes are judged as far as they go"
    ]


def _rows(ranking: Ranking, manifest: Manifest, utterances: int) -> Iterator[Measurement]:
    """Yield what all components cost together, all but the costliest, and each, the costliest first."""
    case = f"{utterances} utterance{'s' if utterances != 1 else ''}"
    yield from _loss(ranking.together, case, "everything that differs from the package")
    if ranking.without_first is not None:
        yield from _loss(ranking.without_first, case, "what is left once it is the reference's")
    for rank, share in enumerate(ranking.shares, 1):
        place = f"rank {rank} of {len(ranking.shares)}"
        yield from _loss(share, case, place)
        if share.error is not None and share.calls is not None:
            packed = manifest.packed(share.name)
            source = "calls of the reference's run" if share.calls.heard else "golden inputs"
            yield Measurement(
                share.name,
                f"{source}: {len(share.calls.inputs)}",
                "SNR of outputs",
                decibels(share.error),
                "dB",
                detail=f"{place}; {packed.precision}, {packed.floor_db:g} dB are asked of it against PyTorch",
                better="higher",
            )


def _loss(share: Share, case: str, detail: str) -> Iterator[Measurement]:
    if share.change is None or share.divergence is None:
        return
    low, high = sorted((0.0 - share.change.change.low, 0.0 - share.change.change.high))
    said = f"{detail}; {share.change.verdict}"
    yield Measurement(share.name, case, "MOS lost", share.lost, "MOS", None, None, said, low, high, (), "lower")
    yield Measurement(share.name, case, "KL divergence", share.divergence, "nats", detail=detail, better="lower")


def _component_table(ranking: Ranking) -> Summary:
    """Return the ranked table of components, those together last."""
    headings = ("component", "rank", "MOS lost", "KL divergence, nats", "SNR of outputs, dB")
    ranked = [(str(rank), share) for rank, share in enumerate(ranking.shares, 1)]
    groups = [("", share) for share in (ranking.without_first, ranking.together) if share is not None]
    lines = [
        (share.name, rank, _number(share.lost if share.change else None), _number(share.divergence), _snr(share.error))
        for rank, share in (*ranked, *groups)
    ]
    text = (
        "One component at a time from the package, the rest from the reference. Sorted by MOS in steps of what matters; "
        "then components with weights that stand out; then by the outputs."
    )
    return Summary("Components", text, headings, tuple(lines))


def _layer_rows(name: str, inquiry: Inquiry) -> Iterator[Measurement]:
    ranks = len(inquiry.suspects)
    for rank, suspect in enumerate(inquiry.suspects, 1):
        yield Measurement(
            name,
            _named(suspect),
            "SNR of outputs, these weights alone",
            decibels(suspect.error),
            "dB",
            detail=f"rank {rank} of {ranks}; {_share(suspect)} of the error of all weights; "
            f"weights {figure(decibels(suspect.weights_error))} dB",
            better="higher",
        )


def _layer_table(name: str, inquiry: Inquiry) -> Summary:
    """Return the ranked table of a component's layers."""
    headings = ("layer", "rank", "SNR of outputs, dB", "share", "SNR of weights, dB", "stored as")
    lines = [
        (
            _named(suspect),
            str(rank),
            _snr(suspect.error),
            _share(suspect),
            _snr(suspect.weights_error),
            suspect.precision if len(suspect.names) == 1 else "",
        )
        for rank, suspect in enumerate(inquiry.suspects, 1)
    ]
    text = (
        f"The reference's {name} with these weights from the package and nothing else: how far its outputs move. All its "
        f"weights: {_snr(inquiry.weights)} dB; the component as it is: {_snr(inquiry.whole)} dB. {inquiry.trials} trials."
    )
    return Summary(f"Layers of {name}", text, headings, tuple(lines))


def _odd_row(odd: Odd) -> Measurement:
    one = odd.distance
    detail = f"stands out: the median of {one.kind} weights is {figure(odd.median_db)} dB"
    return Measurement(one.component, one.layer, "SNR of weights", decibels(one.error), "dB", detail=detail, better="higher")


def _odd_table(odd: Sequence[Odd]) -> list[Summary]:
    """Return the table of weights that stand out, none if none does."""
    headings = ("layer", "component", "stored as", "SNR of weights, dB", "median of its kind, dB")
    lines = tuple(
        (one.layer, one.component, one.kind, _snr(one.error), f"{median:.1f}")
        for one, median in ((found.distance, found.median_db) for found in odd)
    )
    text = (
        f"Less than {100 * ODD:g} % of the median SNR of the weights that are stored alike: wrong scales rather than "
        "rounding, whether it is heard or not."
    )
    return [Summary("Weights that stand out", text, headings, lines)] if odd else []


def _named(suspect: Suspect) -> str:
    names = suspect.names
    if len(names) == 1:
        return names[0]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} others together: {', '.join(names[:NAMED])}{more}"


def _share(suspect: Suspect) -> str:
    return "unknown share" if math.isnan(suspect.share) else f"{100 * suspect.share:.3g} %"


def _snr(error: float | None) -> str:
    return "-" if error is None else f"{decibels(error):.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _report(
    place: Path, options: Options, rows: Sequence[Measurement], summaries: Sequence[Summary], notes: Sequence[str]
) -> Report:
    return Report(
        JUDGE, str(place), describe(), tuple(rows), dict(_given(options)), tuple(notes), summaries=tuple(summaries)
    )


def _given(options: Options) -> Iterator[tuple[str, object]]:
    """Yield the options that differ from their defaults, paths as text."""
    given: Mapping[str, object] = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    for field in dataclasses.fields(options):
        value = given[field.name]
        if value not in (None, (), "", field.default):
            yield field.name, ", ".join(map(str, value)) if isinstance(value, tuple) else _plain(value)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
