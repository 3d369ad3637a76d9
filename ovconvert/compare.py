"""Compares two reports, metric by metric, by intervals: worse, the same, better, or not to be told.

The rules:
- The bound of `fail_over` is a ratio of times: at 5 % a time is worse above 1.05 of the old one, a rate below 1 / 1.05.
- A metric is *worse* if the whole interval of new / old lies beyond the bound, the *same* if all of it lies within 1.05
  either way, *better* beyond the other bound, *not worse* if it only leaves out the bound that matters. All else is
  *cannot tell*, with the rounds that would tell if the ratio is what it looks like now.
- Judged is what the user feels, unless other metrics are chosen: real-time factor, seconds in all and to first audio, time
  per token, peak memory, size on disk; and what stands for it on a noisy machine, CPU seconds and instructions. The rest is
  shown for information, each with its own interval of 95 %, and decides nothing.
- Several metrics are judged at once. For *worse* and *better* the level of the intervals is that of Benjamini and Hochberg
  (1995) in the form of intervals (Benjamini and Yekutieli, 2005): with r of k metrics worse, 1 - 0.05 r / k. Of a package
  that did not change, none of the k comes out worse with at least 95 % (nearly always, as a wrong verdict also has to jump
  over the bound). The *same* and *not worse* need no such care, 95 % for each is enough: who says that all of k metrics
  are the same is wrong with at most the chance of the one that is not (intersection-union test: Berger, 1982).
- Where a comparison that cannot tell is followed by another, of figures of its own, both may raise an alarm: each then has
  half of the 5 % (Bonferroni), and the first that can tell decides.
- Samples of one run are pairs, and what the machine did to both cancels. Reports of two runs are told apart by the
  machine as well. A verdict on a time or a rate then has to hold as measured and also corrected by each of the machine's
  probes that both reports hold: the interval is the hull of all of these. It is then widened by what the machine drifts
  unseen by the probes: 10 %. Where nothing was probed, only a doubling is told from the machine.
- Memory is that of one process each, whatever the number of rounds, and two equal processes do not take the same: its
  interval is widened by 4 %.
- What was counted and not sampled, like bytes on disk, compares exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

import numpy as np

from ovconvert.comparison import BETTER, NOT_WORSE, SAME, UNASKED, UNKNOWN, WORSE, Change, Comparison
from ovconvert.errors import UsageError, listing
from ovconvert.intervals import LEVEL, Estimate, ratio, samples_needed
from ovconvert.report import Measurement, Report, figure, from_json, machine_lines

FALSE_ALARMS = 0.05  # the chance of any, in a whole comparison of what did not change
DRIFT = 0.10  # of a machine between two runs, beyond what its probes see: on 2 shared cores less than that was noise
BLIND_DRIFT = 1.0  # of a machine that nothing probed: the same one moved by tens of per cent from run to run, either way
MEMORY_SPREAD = 0.04  # of one process against an equal one: peak RSS of the tiny package differed by 3.2 % under load
MOST_ROUNDS = 10_000  # more are not proposed
MACHINE = "machine"
PROBES = ("bandwidth", "multiply rate")
MEMORY = ("B", "KB", "kB", "MB", "GB", "KiB", "MiB", "GiB", "bytes")  # of samples; without samples, sizes of files
SIZES = (*MEMORY, "instructions")
FELT = (
    "end to end:RTF",
    "end to end:seconds in all",
    "end to end:seconds to first audio",
    "end to end:CPU seconds",
    "end to end:instructions",
    "*:per token, P50",
    "process:peak RSS",
    "package:size on disk",
)  # what is judged unless other metrics are chosen
STEADY = (*SIZES, "x", "%")  # sizes and ratios of one round: no machine is faster at them

Samples = tuple[float, ...]
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Trial:
    """One metric of both reports. `sets` are (old, new) samples: as measured, then corrected by each probe."""

    base: Measurement
    new: Measurement
    paired: bool
    sets: tuple[tuple[Samples, Samples], ...]
    drift: float

    def costs(self, level: float = LEVEL) -> list[Estimate]:
        """Return by how much worse the metric became, as a ratio above 1 where it is worse: one per pair of sets."""
        ordered = [pair if self.base.better == "lower" else pair[::-1] for pair in self.sets]
        return [ratio(old, new, self.paired, level) for old, new in ordered]

    def cost(self, level: float) -> Estimate:
        """Return the cost as measured, with the interval that holds those of all sets and what the machine may drift."""
        found = self.costs(level)
        low, high = min(estimate.low for estimate in found), max(estimate.high for estimate in found)
        return Estimate(found[0].value, low / (1 + self.drift), high * (1 + self.drift))

    def looks(self) -> tuple[float, float]:
        """Return between which costs the metric would lie if there were no noise."""
        values = [estimate.value for estimate in self.costs()]
        return min(values) / (1 + self.drift), max(values) * (1 + self.drift)


def compare(
    base: Report, new: Report, fail_over: float, drift: float | None = None, metrics: Sequence[str] = (), looks: int = 1
) -> Comparison:
    """Return what changed from `base` to `new`, with a verdict by the rules above on each of the chosen metrics.

    `fail_over` and `drift` are shares: 0.05 is 5 %. `metrics` are patterns of `chosen`; none are those of what the user
    feels, or everything if the reports have nothing of that. `looks` are the comparisons of which the first that can tell
    decides. Raises UsageError for reports that have nothing to compare, and for a pattern that fits nothing.
    """
    alarms = FALSE_ALARMS / looks
    sure = 1 - alarms
    old_rows, new_rows = _by_key(base), _by_key(new)
    shared = [(row, new_rows[key]) for key, row in old_rows.items() if key in new_rows]
    rivals = _rivals(base) | _rivals(new)
    asked = [
        pair for pair in shared if pair[0].better and pair[0].better == pair[1].better and not _foreign(pair[0], rivals)
    ]
    _require_comparable(base, new, asked)
    judged = {id(row) for row in chosen([row for row, _ in asked], metrics)}
    together = bool(base.run) and base.run == new.run
    probes = [] if together else [pair for pair in shared if _is_probe(pair[0]) and _sampled(*pair)]
    unseen = drift if drift is not None else DRIFT if probes else BLIND_DRIFT
    trials = {id(row): _trial(row, other, together, probes, unseen) for row, other in asked if _sampled(row, other)}
    deciding = [trial for row, trial in trials.items() if row in judged]
    level = _level(deciding, fail_over, alarms)
    changes = []
    for row, other in asked:
        trial = trials.get(id(row))
        if id(row) in judged:
            changes.append(_judged(trial, level, sure, fail_over) if trial else _counted(row, other, fail_over))
        else:
            changes.append(_told(_judged(trial, LEVEL, LEVEL, fail_over) if trial else _counted(row, other, fail_over)))
    changes += [_probed(row, other) for row, other in probes]
    return Comparison(
        base,
        new,
        fail_over,
        tuple(changes),
        (*_warnings(base, new, together, probes, unseen), *_disturbed(base, new)),
        (
            f"Judged: {', '.join(sorted({_choice(row) for row, _ in asked if id(row) in judged}))}; the other rows decide "
            "nothing",
            f"Worse or better by intervals of {len(deciding)} sampled metrics at a level of {100 * level:.4g} %, so that "
            f"all together raise a false alarm in at most {100 * alarms:g} % of comparisons of what did not change; "
            f"the same or not worse by intervals of {100 * sure:g} %",
            *_left_out(base, new, old_rows, new_rows, shared, rivals),
        ),
    )


def chosen(rows: Sequence[Measurement], metrics: Sequence[str] = ()) -> list[Measurement]:
    """Return the rows that patterns choose: `SUBJECT:METRIC` or `SUBJECT:CASE:METRIC`, with * and ? as in file names.

    "end to end:*" are all of whole utterances, "decoder:short:per token*" those of one text. Without patterns, what the
    user feels; all, if nothing of that is there. Raises UsageError, with all that there is, for patterns that fit nothing.
    """
    names = [(row.subject, row.case, row.metric) for row in rows]
    missed = [pattern for pattern in metrics if not any(fits(*name, pattern) for name in names)]
    if missed:
        there = sorted({_choice(row) for row in rows})
        raise UsageError(listing(f"--metrics: nothing fits {', '.join(map(repr, missed))}; there are:", there))
    found = (row for row, name in zip(rows, names, strict=True) if any(fits(*name, pattern) for pattern in metrics or FELT))
    return list(found) or list(rows)


def fits(subject: str, case: str, metric: str, pattern: str) -> bool:
    """Tell whether a pattern of `chosen` chooses what has these names."""
    return any(fnmatchcase(name, pattern) for name in (f"{subject}:{metric}", f"{subject}:{case}:{metric}"))


def read(path: Path) -> Report:
    """Return the report in the file `path`. Raises UsageError if there is none."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory without a manifest: give a report (.json) or a package")
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"no report at {path}: {error.strerror}; make one with 'ovconvert benchmark -r {path}'") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def share(text: str, name: str) -> float:
    """Return a share as it is written on the command line: "5%" or "0.05". Raises UsageError for anything else."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 <= value <= 1 or (value == 1 and not percent):
        raise UsageError(f"{name} {text!r}: give a share such as 5% or 0.05, from 0% to 100%")
    return value


def _choice(row: Measurement) -> str:
    return f"{row.subject}:{row.metric}"


def _by_key(report: Report) -> dict[Key, Measurement]:
    found: dict[Key, Measurement] = {}
    for row in report.rows:
        key = (row.subject, row.case, row.metric, row.unit)
        if key in found:
            raise UsageError(f"the report of {report.package} has two rows of {_name(row)}: it cannot be compared")
        found[key] = row
    return found


def _require_comparable(base: Report, new: Report, asked: list[tuple[Measurement, Measurement]]) -> None:
    problems = []
    if base.judge != new.judge:
        problems.append(f"one is of the judge {base.judge!r}, the other of {new.judge!r}")
    families = [report.options.get("family") for report in (base, new)]
    if all(families) and families[0] != families[1]:
        problems.append(f"one is of the family {families[0]!r}, the other of {families[1]!r}")
    made_of = [cast("dict[str, str]", report.options.get("make_up", {})) for report in (base, new)]
    problems += [
        f"{name} is made of {text!r} in one, of {made_of[1][name]!r} in the other: measure both anew"
        for name, text in made_of[0].items()
        if made_of[1].get(name, text) != text
    ]
    if not asked:
        problems.append("they share no metric of which less or more is better")
    if problems:
        raise UsageError(listing(f"reports of {base.package} and {new.package} cannot be compared:", problems))


def _rivals(report: Report) -> set[str]:
    """Return the labels of those that the package was measured against."""
    named = report.options.get("baseline") or ()
    labels = {str(label) for label in named} if isinstance(named, list | tuple) else {str(named)}
    return labels | ({"against"} if report.options.get("against") else set())


def _foreign(row: Measurement, rivals: set[str]) -> bool:
    """Tell whether a row is not of the package: of the machine, or of what the package was measured against."""
    return row.subject == MACHINE or any(row.subject.endswith(f"({label})") for label in rivals)


def _is_probe(row: Measurement) -> bool:
    return row.subject == MACHINE and row.metric in PROBES


def _sampled(*rows: Measurement) -> bool:
    """Tell whether all rows have samples that a ratio can be made of. One sample of a size is a count."""
    counts = all(len(row.samples) <= 1 and row.unit in SIZES for row in rows)
    return not counts and all(row.samples and all(0 < value < math.inf for value in row.samples) for row in rows)


def _trial(
    row: Measurement,
    other: Measurement,
    together: bool,
    probes: list[tuple[Measurement, Measurement]],
    drift: float,
) -> Trial:
    spread = MEMORY_SPREAD if row.unit in MEMORY else 0.0
    if together and len(row.samples) == len(other.samples):
        return Trial(row, other, True, ((row.samples, other.samples),), spread)
    if row.unit in STEADY:
        return Trial(row, other, False, ((row.samples, other.samples),), spread)
    corrected = [(_corrected(row, probe.samples), _corrected(other, again.samples)) for probe, again in probes]
    return Trial(row, other, False, ((row.samples, other.samples), *corrected), drift)


def _corrected(row: Measurement, speed: Samples) -> Samples:
    """Return the samples as a machine of speed 1 would have them, round by round where the machine was probed in each."""
    values = np.asarray(row.samples)
    speeds = np.asarray(speed) if len(speed) == len(values) else np.median(speed)
    return tuple((values * speeds if row.better == "lower" else values / speeds).tolist())


def _level(trials: list[Trial], fail_over: float, alarms: float) -> float:
    """Return the level of all intervals: 1 - alarms r / k, r the largest of k and its halves that so many are worse at."""
    worse = count = max(len(trials), 1)
    while worse:
        level = 1 - alarms * worse / count
        if worse == 1 or sum(trial.cost(level).low > 1 + fail_over for trial in trials) >= worse:
            return level
        worse //= 2
    raise AssertionError("the last r is 1")


def _verdict(low: float, high: float, fail_over: float) -> str:
    """Return what an interval of the cost means."""
    if low > 1 + fail_over:
        return WORSE
    if high < 1 / (1 + fail_over):
        return BETTER
    if high <= 1 + fail_over:
        return SAME if low >= 1 / (1 + fail_over) else NOT_WORSE
    return UNKNOWN


def _judged(trial: Trial, level: float, sure: float, fail_over: float) -> Change:
    """Return the change with its verdict: worse or better at `level`, the same or not worse at `sure`."""
    cost = trial.cost(level)
    if _verdict(cost.low, cost.high, fail_over) == UNKNOWN:
        alone = trial.cost(sure)
        cost = alone if _verdict(alone.low, alone.high, fail_over) in (SAME, NOT_WORSE) else cost
    shown = cost if trial.base.better == "lower" else Estimate(1 / cost.value, 1 / cost.high, _inverse(cost.low))
    verdict = _verdict(cost.low, cost.high, fail_over)
    more, detail = _advice(trial, level, sure, fail_over) if verdict == UNKNOWN else (None, "")
    return Change(trial.base, trial.new, shown, verdict, detail, _per_round(trial), more)


def _told(change: Change) -> Change:
    """Return a change for information: its interval stays, its verdict is left out."""
    return replace(change, verdict=UNASKED, detail="", more=None)


def _per_round(trial: Trial) -> Samples:
    if not trial.paired:
        return ()
    return tuple(after / before for before, after in zip(trial.base.samples, trial.new.samples, strict=True))


def _inverse(value: float) -> float:
    return 1 / value if value else math.inf


def _advice(trial: Trial, level: float, sure: float, fail_over: float) -> tuple[int | None, str]:
    """Return how many more rounds would tell whether the metric is worse, None if no number would, and that in words."""
    low, high = trial.looks()
    have = min(len(trial.base.samples), len(trial.new.samples))
    if have == 1:
        return None, "one sample shows no spread: measure in rounds"
    if low <= 1 + fail_over <= high and trial.base.unit in MEMORY:
        return None, "two equal processes may differ as much"
    if low <= 1 + fail_over <= high:
        if trial.paired:
            return None, "right at the bound: no number of rounds tells"
        return None, "the machine may have moved as much: measure both in turns, in one run"
    room = max(low / (1 + fail_over), (1 + fail_over) / high)
    asked = level if low > 1 + fail_over else sure  # to show it worse; to show it not worse
    needed = max(samples_needed(*pair, trial.paired, room, asked) for pair in trial.sets)
    if needed > MOST_ROUNDS:
        return None, f"close to the bound: more than {MOST_ROUNDS} rounds to tell"
    more = max(needed - have, 1)
    return more, f"about {more} more rounds to tell, beyond {have}"


def _counted(row: Measurement, other: Measurement, fail_over: float) -> Change:
    """Return the change of a metric that was counted, or of samples that no ratio can be made of."""
    values = (row.value, other.value)
    exact = all(len(one.samples) == 0 or one.unit in SIZES for one in (row, other)) and row.low is None and other.low is None
    if not exact or not all(math.isfinite(value) and value >= 0 for value in values):
        reason = "samples that are not positive numbers, or in one report only: no ratio"
        return Change(row, other, Estimate(math.nan, 0.0, math.inf), UNKNOWN, reason)
    changed = 1.0 if row.value == other.value else _inverse(row.value) * other.value
    cost = changed if row.better == "lower" else _inverse(changed)
    return Change(row, other, Estimate(changed, changed, changed), _verdict(cost, cost, fail_over), "exact")


def _probed(row: Measurement, other: Measurement) -> Change:
    return Change(row, other, ratio(row.samples, other.samples, paired=False), UNASKED, "the machine itself")


def _warnings(
    base: Report, new: Report, together: bool, probes: list[tuple[Measurement, Measurement]], drift: float
) -> Iterable[str]:
    """Yield what a reader has to know before the table."""
    if not together:
        widened = f"times and rates were widened by {100 * drift:g} % for what it drifts unseen"
        means = "corrected by its probes as well as not, and " if probes else "the reports hold no probes of it; "
        yield f"Measured in two runs, so the machine may differ: {means}{widened}"
    for row, other in probes:
        found = ratio(row.samples, other.samples, paired=False)
        if not found.low <= 1 <= found.high:
            faster = "faster" if found.value > 1 else "slower"
            interval = f"{figure(found.value)} ({figure(found.low)} to {figure(found.high)})"
            yield f"The machine itself was {faster} in the new run: {row.metric} {interval} times that of the old"
    different = list(_differences(base, new))
    if different:
        yield "Not the same machine, installation or settings: " + "; ".join(different)


def _differences(base: Report, new: Report) -> Iterable[str]:
    """Yield in what the machines and the settings of two reports differ. The load always does."""
    lines = zip(machine_lines(base.machine), machine_lines(new.machine), strict=True)
    sides = [(name, old, now) for (name, old), (_, now) in lines if name not in ("load", "packages")]
    sides.append(("governor", base.machine.governor, new.machine.governor))
    for label, old_map, new_map in (
        ("", base.machine.versions, new.machine.versions),
        ("setting ", base.options, new.options),
    ):
        for key in sorted({*old_map, *new_map} - {"family"}):
            sides.append((label + key, _plain(old_map.get(key)), _plain(new_map.get(key))))
    for name, old, now in sides:
        if old != now:
            yield f"{name}: {old or 'unknown'} -> {now or 'unknown'}"


def _plain(value: object) -> str:
    return "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _disturbed(base: Report, new: Report) -> Iterable[str]:
    both = set(base.disturbances) & set(new.disturbances) if base.run and base.run == new.run else set()
    for text in sorted(both):
        yield f"Disturbed while measuring: {text}"
    for word, report in (("old", base), ("new", new)):
        for text in report.disturbances:
            if text not in both:
                yield f"Disturbed while measuring the {word} one: {text}"


def _left_out(
    base: Report,
    new: Report,
    old_rows: dict[Key, Measurement],
    new_rows: dict[Key, Measurement],
    shared: list[tuple[Measurement, Measurement]],
    rivals: set[str],
) -> Iterable[str]:
    """Yield a note for all that has no verdict, and why."""
    for report, rows, others in ((base, old_rows, new_rows), (new, new_rows, old_rows)):
        for key in (key for key in rows if key not in others):
            yield f"Only in the report of {report.package}: {_name(rows[key])}{' in ' + key[3] if key[3] else ''}"
    for row, other in shared:
        if row.better != other.better:
            yield f"Not judged, as the reports disagree on which way is better: {_name(row)}"
    foreign = [row for row, _ in shared if row.better and _foreign(row, rivals) and not _is_probe(row)]
    if foreign:
        subjects = ", ".join(sorted({row.subject for row in foreign}))
        yield f"Not judged, as they are not of the package: {len(foreign)} rows of {subjects}"
    neutral = [(row, other) for row, other in shared if not row.better and not other.better and not _is_probe(row)]
    if neutral:
        yield f"Not judged, as neither way is better: {len(neutral)} rows"
    for row, other in neutral:
        if row.value != other.value and len({*row.samples}) <= 1 and len({*other.samples}) <= 1:
            yield f"Changed: {_name(row)}, {figure(row.value)} -> {figure(other.value)} {row.unit}".rstrip()


def _name(row: Measurement) -> str:
    return f"{row.subject} [{row.case}]: {row.metric}"
