"""Measure a package: end to end and component by component, in turns with others, with intervals and raw samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ovconvert import package
from ovconvert.bench import generation, limits, rows
from ovconvert.bench.abilities import LISTENING, SPEAKING, Ability, ability_of, has_program
from ovconvert.bench.alone import takes_rows
from ovconvert.bench.bench import NEW_VOICE, PROCESS
from ovconvert.bench.both_ways import measure_both_ways
from ovconvert.bench.generation import Generated, measure_generation, tasks_of
from ovconvert.bench.generators import generator_for, generator_of
from ovconvert.bench.growth import growth
from ovconvert.bench.measure import Findings, Plan, begin, measure
from ovconvert.bench.overview import overview
from ovconvert.bench.side_by_side import SIDE_BY_SIDE
from ovconvert.bench.spoken import WHOLE
from ovconvert.bench.subject import BASELINES, LIBRARIES, Subject
from ovconvert.bench.texts import Text, of_file, shipped
from ovconvert.bench.variants import ADDITIONS, Variant, cumulative
from ovconvert.errors import UsageError
from ovconvert.machine import describe
from ovconvert.options import Progress, option, silent
from ovconvert.package import Manifest
from ovconvert.report import Exhibit, Measurement, Report
from ovconvert.runtime import needs_of, takes_of
from ovconvert.runtime.request import PROFILES, Request

JUDGE = "benchmark"
AGAINST = "against"
EXACT = "exact"
PROFILE = "profile"
RECORDINGS = (".wav", ".flac", ".ogg", ".mp3")
NEEDS = {"pytorch": ("torch",), "onnxruntime": ("onnxruntime",), "onnxruntime-int8": ("onnxruntime", "onnx")}
NEEDS |= {"transformers": ("torch", "transformers")} | generation.NEEDS
INSTALL = {
    name: "into an environment of its own: pip install --no-deps -r requirements-peers.txt" for name in generation.NEEDS
}


@dataclass(frozen=True)
class Options(Request):
    """A request, the texts, what the package is measured against, and how often."""

    text: str = option("", "Text to speak, instead of the shipped ones.")
    text_file: Path | None = option(None, "File with the texts to speak, UTF-8, one a line.")
    audio: tuple[Path, ...] = option((), "Recordings to transcribe, for a package that listens.")
    rounds: int = option(10, "Rounds; in each, every competitor has its turn once.")
    loads: int = option(3, "Fresh processes that measure loading and compiling; 0 leaves that out.")
    baseline: tuple[str, ...] = option((), "Other engines to measure in turns, comma-separated.", choices=tuple(NEEDS))
    model: Path | None = option(
        None, "Checkpoint that the package was made from, for baselines that do not read its graphs."
    )
    model_script: str = option(
        "", "Script and name that describe the model the package was made from, as for export: my_model.py:SPEC."
    )
    against: Path | None = option(None, "Another package to measure in turns.")
    ablation: bool = option(False, "Also measure the settings one by one, from the plain form to the full set.")
    threads: tuple[int, ...] = option(
        (),
        "Threads of the engines; of several, the first is for everything, the others for scaling (default: the engine's).",
    )
    reference_seconds: tuple[float, ...] = option((), "Also measure with the reference recording cut to these lengths.")
    streams: tuple[int, ...] = option((), "Also speak the middle text so many times at a time, as a service does: 1,2,4.")
    batch: tuple[int, ...] = option((), "Also run components alone on so many rows at once, where they take several: 1,2,4.")
    components: bool = option(True, "Also run every component alone.")
    golden_sizes: bool = option(False, "Run components alone also at the sizes of their golden tensors.")
    profiles: tuple[str, ...] = option((), "Also speak with these profiles, in turns.", choices=tuple(PROFILES))
    brief_warm_up: bool = option(
        False, "Warm up all but the package itself with a short utterance, where one takes minutes."
    )
    new_voice: bool = option(True, "Also speak the first text with a voice that was not heard before.")
    contexts: tuple[int, ...] = option(
        (), "Positions in a step's cache when it runs alone (default: as in the texts), and of prompts of ids (default: 96)."
    )
    speech: bool = option(
        True, "Speak, transcribe or answer, and run components; without it, only generate ids with such engines and ours."
    )
    tokens: int = option(64, "Ids that are generated after a prompt, a window or a source, with engines that know no less.")
    peer_models: Path | None = option(None, "Directory that keeps the models made for such engines (default: none kept).")


def requires(package_dir: Path, options: Options) -> list[str]:
    """Return what is wrong with the options: numbers, texts, a voice, and what the baselines need."""
    manifest = package.load(package_dir)
    checks = [
        ("rounds", options.rounds, 1),
        ("loads", options.loads, 0),
        *(("threads", count, 1) for count in options.threads),
        *(("contexts", count, 1) for count in options.contexts),
        *(("streams", count, 1) for count in options.streams),
        *(("batch", count, 1) for count in options.batch),
        ("tokens", options.tokens, 2),
    ]
    problems = [f"{name} {value}: at least {least}" for name, value, least in checks if value < least]
    ability = ability_of(manifest.family)
    problems += _input_problems(ability, options)
    problems += [] if ability is SPEAKING else _other_problems(ability, options)
    if options.batch and not options.components:
        problems.append("batch: components alone are measured on several rows; leave out --no-components")
    if options.batch and not any(takes_rows(packed.component) for packed in manifest.components):
        problems.append("batch: no component of this package takes several rows at once; leave out --batch")
    if ability is SPEAKING and set(LIBRARIES) & set(options.baseline):
        problems.append(f"{', '.join(LIBRARIES)}: has no program that speaks; name another baseline")
    if not options.speech and not generation.NEEDS.keys() & set(options.baseline):
        problems.append(f"nothing to measure without speech: name a baseline of {', '.join(generation.NEEDS)}")
    if options.speech and not has_program(manifest.family):
        problems += [f"{name}: nothing of ours speaks with this package; leave it out" for name in _of_speech(options)]
    if ability is SPEAKING and options.speech and needs_voice(manifest) and voice_of(package_dir, options) is None:
        problems.append("no voice: give a reference recording with --voice; the package holds none")
    if options.voice is not None and not options.voice.is_file():
        problems.append(f"voice {options.voice}: no such file")
    for name in options.baseline:
        scripted = name == "pytorch" and options.model_script
        if name in ("pytorch", *LIBRARIES, *generation.NEEDS) and options.model is None and not scripted:
            problems.append(f"the baseline {name} needs the checkpoint that the package was made from: give it with --model")
        missing = [module for module in NEEDS[name] if find_spec(module) is None]
        if missing:
            advice = INSTALL.get(name, "the extra: pip install 'ovconvert[dev]'")
            problems.append(f"the baseline {name} needs {', '.join(missing)}; install {advice}")
    return problems


def run(package_dir: Path, options: Options, progress: Progress = silent) -> Report:
    """Return what the package takes, and how it compares with every competitor that the options name.

    Raises what the program of a package raises for a text or a voice that it cannot take.
    """
    manifest = package.load(package_dir)
    main = _subject("", package_dir, options)
    variants, notes = _variants(manifest, options)
    # a faster algorithm is ours: what others are measured with is the original's
    exact = dataclasses.replace(options, profile=EXACT)
    plain = [_subject(name, package_dir, exact, engine=name) for name in options.baseline if name in BASELINES]
    if options.baseline and options.profile != EXACT:
        notes.append(f"baselines run the profile {EXACT}, the package {options.profile}: another algorithm, other audio")
    plain += [_subject(AGAINST, options.against, options)] if options.against else []
    varied = [dataclasses.replace(main, label=variant.name, variant=variant) for variant in variants]
    subjects = (main, *plain, *varied)
    peers = [_subject(name, package_dir, exact, engine=name) for name in options.baseline if name in generation.NEEDS]
    found = [*_size_rows(package_dir)]
    findings = begin(describe(), options.rounds, options.loads)
    if options.speech:
        whole = tuple(subject.label for subject in plain if subject.engine not in LIBRARIES)
        findings = measure(_plan(subjects, options, whole=("", *whole)), progress)
        found += _spoken(findings, plain, varied)
    if peers:
        generated = _generate((main, *plain, *peers), options, progress)
        found += _generation_rows(generated, options.rounds)
        findings.disturbances += generated.disturbances
        notes.append(f"{generation.NOTE}. {generator_of(package_dir).note}")
    added = [variant.name for variant in variants if variant.name in {addition.name for addition in ADDITIONS}]
    others = [variant.name for variant in variants if variant.name not in added]
    report = _report(package_dir, options, findings, found, notes)
    alike = {variant.name for variant in variants if variant.exact}  # they sound as the package does
    heard = tuple(_exhibits(findings, [subject.label for subject in subjects if subject.label not in alike]))
    tables = overview(report.rows, added, others, [subject.label for subject in plain])
    return dataclasses.replace(report, summaries=tuple(tables), exhibits=heard)


def _exhibits(findings: Findings, labels: list[str]) -> Iterator[Exhibit]:
    """Yield what the competitors made of each text, in the first round."""
    made = {label: findings.sounds[label] for label in labels if label in findings.sounds}
    for text in (name for name in made.get("", {}) if not name.endswith(NEW_VOICE)):
        sounds = tuple((label or "the package", wavs[text]) for label, wavs in made.items() if text in wavs)
        yield Exhibit(text, "As spoken in the first round.", sounds)


def _spoken(findings: Findings, plain: list[Subject], varied: list[Subject]) -> Iterator[Measurement]:
    """Yield the rows of all that spoke, or ran alone: the package, those measured beside it, its variants, the machine."""
    yield from _rows(findings, "")
    for subject in plain:
        yield from (*_rows(findings, subject.label), *_ratios(findings, subject.label))
    for subject in varied:
        whole = [row for row in rows.rows(findings.speech[subject.label], findings.rounds, subject.label) if _whole(row)]
        whole += [row for row in _ratios(findings, subject.label) if _whole(row)]
        if PROFILE in subject.variant.request:
            whole += _against_baselines(findings, subject, plain)
        yield from _remarked(whole, subject.variant)
    yield from rows.rows((findings.speech or findings.alone)[limits.MACHINE], findings.rounds)


def _against_baselines(findings: Findings, subject: Subject, plain: list[Subject]) -> Iterator[Measurement]:
    """Yield how an utterance of a variant compares with each baseline's."""
    for other in plain:
        spoken = findings.speech[subject.label], findings.speech[other.label]
        for row in rows.ratios(*spoken, findings.rounds, other.label):
            if _whole(row):
                yield dataclasses.replace(row, subject=rows.labelled(row.subject, subject.label))


def _generate(subjects: tuple[Subject, ...], options: Options, progress: Progress) -> Generated:
    """Return what generation takes with each of the subjects."""
    tasks = tasks_of(subjects[0].package, options.contexts, options.audio, options.tokens)
    return measure_generation(
        subjects, tasks, rounds=options.rounds, seed=options.seed, kept=options.peer_models, progress=progress
    )


def _generation_rows(generated: Generated, rounds: int) -> Iterator[Measurement]:
    """Yield the rows of every competitor, and how the package compares with it."""
    ours = generated.tables[""]
    for label, table in generated.tables.items():
        yield from rows.rows(table, rounds, label)
        if label:
            yield from rows.ratios(ours, table, rounds, label)


def measure_pair(base: Path, new: Path, options: Options, progress: Progress = silent) -> tuple[Report, Report]:
    """Return the reports of two packages that were measured in turns: sample i of both is of one round, `run` is the same.

    Baselines and variants are left out. Raises as `run` does.
    """
    subjects = (_subject("base", base, options), _subject("new", new, options))
    findings = measure_both_ways(_plan(subjects, options, whole=("base", "new")), progress)
    first, second = (
        _report(place, options, findings, [*_size_rows(place), *_rows(findings, label, shown="")], ())
        for label, place in (("base", base), ("new", new))
    )
    return first, second


def needs_voice(manifest: Manifest) -> bool:
    """Tell whether a package speaks in the voice of a recording alone."""
    return "voice" in needs_of(manifest)


def voice_of(package_dir: Path, options: Options) -> Path | None:
    """Return the reference recording: the one that is given, else the first that the package holds if it needs one."""
    if not needs_voice(package.load(package_dir)):
        return options.voice
    held = sorted(path for path in (package_dir / package.ASSETS).rglob("*") if path.suffix.lower() in RECORDINGS)
    return options.voice or next(iter(held), None)


def texts_of(options: Options) -> tuple[Text, ...]:
    """Return the texts to speak. Raises UsageError if there are none."""
    if options.text_file:
        return of_file(options.text_file)
    return (Text("given", options.text),) if options.text else shipped(options.language)


def inputs_of(options: Options) -> tuple[Text, ...]:
    """Return the recordings to transcribe, by their names, or else the texts. Raises UsageError if there are none."""
    return tuple(Text(path.name, str(path)) for path in options.audio) or texts_of(options)


def given(options: Options) -> dict[str, object]:
    """Return the settings of the request that are given: those that are not as they come."""
    fields = dataclasses.fields(Request)
    return {one.name: getattr(options, one.name) for one in fields if getattr(options, one.name) != one.default}


def _other_problems(ability: Ability, options: Options) -> list[str]:
    """Return what of the options makes sense for speech alone."""
    problems = [
        f"{name}: a package that can {ability.method} has no such setting" for name in ability.unknown(given(options))
    ]
    flags = ("ablation", "reference_seconds", "profiles", *(() if ability is LISTENING else ("streams",)))
    problems += [f"{name}: not for a package that can {ability.method}" for name in flags if getattr(options, name)]
    have = (*LIBRARIES, *generator_for(ability).engines)
    problems += [
        f"baseline {name}: has nothing for a package that can {ability.method}; have: {', '.join(have)}"
        for name in options.baseline
        if name not in have
    ]
    return problems


def _input_problems(ability: Ability, options: Options) -> list[str]:
    if ability is LISTENING:
        names = [path.name for path in options.audio]
        problems = [] if names or not options.speech else ["no recording: name some with --audio"]
        problems += [f"recording {path}: no such file" for path in options.audio if not path.is_file()]
        problems += ["audio: two recordings have the same name"] if len(set(names)) < len(names) else []
        return problems + (["text: this package listens"] if options.text or options.text_file else [])
    return (["audio: this package does not listen"] if options.audio else []) + _text_problems(options)


def _of_speech(options: Options) -> Iterator[str]:
    """Yield what the options ask for that wants a package that speaks."""
    asked = {
        "text": options.text or options.text_file,
        "streams": options.streams,
        "several threads": options.threads[1:],
        "reference_seconds": options.reference_seconds,
        "profiles": options.profiles,
        "ablation": options.ablation,
        "no_components": not options.components,
    }
    return (name for name, value in asked.items() if value)


def _text_problems(options: Options) -> list[str]:
    if options.text and options.text_file:
        return ["give either --text or --text-file"]
    try:
        texts_of(options)
    except UsageError as error:
        return [str(error)]
    return []


def _subject(label: str, place: Path, options: Options, engine: str = "openvino") -> Subject:
    ability = ability_of(package.load(place).family)
    if ability is SPEAKING:
        asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(Request)}
        asked["voice"] = voice_of(place, options)
    else:
        asked = given(options)
    request = ability.asked(asked)
    threads = options.threads[0] if options.threads else None
    return Subject(
        label, place, request, engine=engine, checkpoint=options.model, script=options.model_script, threads=threads
    )


def _plan(subjects: tuple[Subject, ...], options: Options, whole: tuple[str, ...]) -> Plan:
    return Plan(
        subjects=subjects,
        texts=inputs_of(options) if has_program(package.load(subjects[0].package).family) else (),
        rounds=options.rounds,
        loads=options.loads,
        components=options.components,
        golden=options.golden_sizes,
        contexts=options.contexts,
        seed=options.seed,
        whole=frozenset(whole),
        new_voice=options.new_voice and isinstance(subjects[0].request, Request),
        streams=options.streams,
        batch=options.batch,
        brief=options.brief_warm_up,
    )


def _variants(manifest: Manifest, options: Options) -> tuple[list[Variant], list[str]]:
    """Return what is varied, and a note for every step of the ablation that the package cannot take."""
    found = [Variant(f"{count} thread{'s' if count > 1 else ''}", threads=count) for count in options.threads[1:]]
    found += [
        Variant(f"reference of {seconds:g} s", request={"max_reference_seconds": seconds}, exact=False)
        for seconds in options.reference_seconds
    ]
    found += [Variant(f"{PROFILE} {name}", request={PROFILE: name}, exact=False) for name in options.profiles]
    takes = takes_of(manifest)
    added = list(zip(ADDITIONS, cumulative(ADDITIONS), strict=True)) if options.ablation else []
    notes = []
    cached = any(packed.component.cache is not None for packed in manifest.components)
    for addition, whole in added:
        variant = whole if cached else dataclasses.replace(whole, form="", runtime_options={})
        if addition.possible(manifest, takes) and dataclasses.replace(variant, request={}).possible(manifest, takes):
            found.append(variant.within(takes))
        else:
            notes.append(f"ablation: {variant.name!r} left out, the package has no such form or setting")
    return found, notes


def _rows(findings: Findings, label: str, shown: str | None = None) -> Iterator[Measurement]:
    """Yield all rows of a competitor, under the name `shown` or else its label."""
    name = label if shown is None else shown
    if label in findings.speech:
        yield from rows.rows(findings.speech[label], findings.rounds, name)
        yield from growth(findings.speech[label], findings.rounds, name)
    if not label and SIDE_BY_SIDE in findings.speech:
        yield from rows.rows(findings.speech[SIDE_BY_SIDE], findings.rounds)
    if label in findings.alone:
        yield from rows.rows(findings.alone[label], findings.rounds, name)
        machine = findings.alone[limits.MACHINE]
        for row in limits.limit_rows(findings.works.get(label, {}), findings.alone[label], machine, findings.rounds):
            yield dataclasses.replace(row, subject=rows.labelled(row.subject, name))
    if label in findings.loading:
        yield from rows.rows(findings.loading[label], findings.loads, name)


def _whole(row: Measurement) -> bool:
    """Tell whether a row is of what the user notices of a variant: the utterance as a whole, and memory."""
    return row.subject.startswith((WHOLE, PROCESS))


def _remarked(found: Iterable[Measurement], variant: Variant) -> Iterator[Measurement]:
    """Yield the rows of a variant; where its algorithm is another, they say so."""
    remark = "" if variant.exact else "another algorithm: other audio"
    for row in found:
        yield dataclasses.replace(row, detail="; ".join(text for text in (row.detail, remark) if text))


def _ratios(findings: Findings, label: str) -> Iterator[Measurement]:
    """Yield how the package compares with a competitor, wherever both were measured."""
    for tables, number in (
        (findings.speech, findings.rounds),
        (findings.alone, findings.rounds),
        (findings.loading, findings.loads),
    ):
        if label in tables and "" in tables:
            yield from rows.ratios(tables[""], tables[label], number, label)


def _size_rows(package_dir: Path) -> Iterator[Measurement]:
    """Yield what the package takes on disk: all of it, what a deployment needs, and each component."""
    manifest = package.load(package_dir)
    sizes = {name: (package_dir / name).stat().st_size for name in manifest.files}
    graphs = {
        packed.component.name: {name for graph in packed.graphs.values() for name in (graph.xml, graph.bin)}
        for packed in manifest.components
    }
    needed = {name for names in graphs.values() for name in names}
    needed |= {name for name in sizes if name.startswith(f"{package.ASSETS}/")}
    for case, names in (("all files", set(sizes)), ("graphs and assets", needed)):
        yield Measurement("package", case, "size on disk", sum(sizes[name] for name in names) / 1e6, "MB", better="lower")
    for component, names in graphs.items():
        size = sum(sizes[name] for name in names) / 1e6
        yield Measurement(component, "all forms", "size on disk", size, "MB", better="lower")


def _report(
    place: Path, options: Options, findings: Findings, found: list[Measurement], notes: list[str] | tuple[str, ...]
) -> Report:
    given = {
        field.name: str(value) if isinstance(value, Path) else value
        for field in dataclasses.fields(options)
        if (value := getattr(options, field.name)) not in (None, (), "", field.default)
    }
    settings = next(iter(findings.settings.values()), {})
    return Report(
        JUDGE,
        str(place),
        findings.machine,
        tuple(found),
        {"family": package.load(place).family, **settings, **given, "rounds": options.rounds, "loads": options.loads},
        (*findings.notes, *notes),
        run=findings.run,
        disturbances=findings.disturbances,
    )
