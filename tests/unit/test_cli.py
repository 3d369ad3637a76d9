"""The command line: flags made from options, one clear error per wrong input, exit codes that mean something."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import click
import fakes
import pytest
from click.testing import CliRunner, Result

from ovconvert import commands, perform, speak
from ovconvert.cli import cli
from ovconvert.commands import Commands, verb_command
from ovconvert.errors import OvconvertError, QualityError
from ovconvert.options import Progress
from ovconvert.report import from_json
from ovconvert.runtime.request import Resolved
from ovconvert.runtime.takes import Takes, whole


def run(*arguments: str, group: click.Command = cli, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(group, arguments, input=stdin)


@pytest.fixture
def garden(monkeypatch: pytest.MonkeyPatch) -> fakes.Garden:
    return fakes.install(monkeypatch)


@pytest.fixture
def group(garden: fakes.Garden) -> Commands:
    rows = {verb.name: (verb.help, lambda verb=verb: verb_command(verb)) for verb in fakes.VERBS}
    return Commands("fake", rows)  # type: ignore[arg-type]


def refused(result: Result, code: int, *said: str) -> None:
    """Assert that a command failed with one clear error and no traceback."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert result.stderr.lower().count("error: ") == 1
    for part in said:
        assert part in result.stderr


def test_flags_are_made_from_options(group: Commands) -> None:
    text = run("grow", "--help", group=group).output
    for flag in (
        "-m, --model",
        "-w, --water FLOAT",
        "--split / --no-split",
        "--parts STR,...",
        "--soil PATH",
        "--fail",
    ):
        assert flag in text
    assert "Documentation of fake_grow." in text


def test_verbs_make_judge_and_gate(group: Commands, garden: fakes.Garden, tmp_path: Path) -> None:
    seed, tree = tmp_path / "seed", tmp_path / "tree"
    assert run("seedling", "--kind", "elm", str(seed), group=group).exit_code == 0
    grown = run("grow", "-m", str(seed), "-w", "2", "--parts", "a, b", str(tree), group=group)
    assert (grown.exit_code, grown.stdout.strip()) == (0, str(tree))
    assert "grow 1/2" in grown.stderr  # progress, in plain lines where there is no terminal
    assert (tree / "tree.txt").read_text() == "elm 0 2.0"
    weighed = run("weigh", str(tree), group=group)
    assert weighed.exit_code == 0
    assert from_json((tmp_path / "tree.weigh.json").read_bytes()).judge == "weigh"
    reports = [tmp_path / "a.md", tmp_path / "a.xml"]
    asked = run("weigh", str(tree), "--floor", "9", *(f"--report={path}" for path in reports), group=group)
    refused(asked, 5, "weigh: 1 of 2 rows of tree fall short", "trunk [n=1]: weight 5 kg, asked: 9")
    assert all(path.is_file() for path in reports)


def test_all_that_is_required_is_told_at_once(group: Commands, tmp_path: Path) -> None:
    result = run("grow", "-m", str(tmp_path), "-w", "0", str(tmp_path / "x"), group=group)
    refused(result, 2, "too little water", "no sun")


def test_a_report_that_cannot_be_written_is_told_before_the_work(
    group: Commands, garden: fakes.Garden, tmp_path: Path
) -> None:
    refused(run("weigh", str(tmp_path), "--report", "r.pdf", group=group), 2, "have: .json, .md, .xml")
    assert not garden.calls


def test_ctrl_c_ends_with_130(group: Commands, garden: fakes.Garden, tmp_path: Path) -> None:
    garden.broken = True
    assert run("grow", "-m", str(tmp_path), str(tmp_path / "x"), group=group).exit_code == 130


def test_a_bug_of_ours_keeps_its_traceback(group: Commands, tmp_path: Path) -> None:
    result = run("grow", "-m", str(tmp_path), str(tmp_path / "x"), group=group)
    assert isinstance(result.exception, FileNotFoundError)


def test_a_missing_extra_is_a_fault_of_the_environment(
    group: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(perform, "find_spec", lambda name: None)
    result = run("make-checkpoint", "--family", "x", str(tmp_path / "x"))
    refused(result, 3, "torch", "pip install", "[convert]")


@pytest.mark.parametrize("error", [OvconvertError, *OvconvertError.__subclasses__()])
def test_each_error_has_its_exit_code(error: type[OvconvertError]) -> None:
    @click.command()
    def fail() -> None:
        raise error("a [bracket] and a very long line " + "x" * 300)

    result = run("fail", group=Commands("fake", {"fail": ("", lambda: fail)}))
    refused(result, error.exit_code, "[bracket]", "x" * 300)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bogus",), "No such command"),
        (("verify",), "Missing argument"),
        (("verify", "none"), "no package at none"),
        (("inspect", "none"), "no package at none"),
        (("run", "none.toml"), "cannot be read"),
        (("plan", "none.toml"), "cannot be read"),
        (("make-checkpoint", "x"), "no family given"),
        (("make-checkpoint", "--family", "nope", "x"), "no family named 'nope'"),
        (("make-checkpoint", "--size", "huge", "x"), "--size"),
        (("make-checkpoint", "--seed", "soon", "x"), "--seed"),
        (("export", "-m", "none", "x"), "does not exist"),
        (("export", "x"), "--model"),
        (("simplify", "none.onnx", "x"), "does not exist"),
        (("lower", "none.onnx", "x"), "does not exist"),
        (("split", "none.onnx", "x"), "does not exist"),
        (("validate", "none"), "does not exist"),
        (("speak", "none", "hello"), "does not exist"),
        (("speak", ".", ""), "no text"),
        (("speak", ".", "   "), "TEXT is empty"),
        (("speak", ".", "--text-file", "none.txt"), "no such file"),
        (("speak", ".", "hello", "--text-file", "none.txt"), "either TEXT or --text-file"),
        (("speak", ".", "hello", "--threads", "0"), "at least 1"),
        (("speak", ".", "hello", "--speed", "9"), "speed is 9.0"),
        (("speak", ".", "hello", "--emotion-vector", "1,x"), "not a valid float"),
        (("speak", ".", "hello", "--emotion-vector", "1,0"), "eight weights"),
        (("speak", ".", "hello", "-o", "out.mp3"), "only .wav"),
    ],
)
def test_wrong_usage_is_one_clear_error(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), 2, said)
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = b"caf\xe9"
    refused(run("speak", ".", bad.decode("utf-8", "surrogateescape")), 2, "TEXT is not UTF-8: byte 0xe9 at offset 3")
    refused(run("speak", ".", "-", stdin=bad), 2, "standard input is not UTF-8")
    refused(run("speak", ".", "-", stdin=b" \n"), 2, "standard input is empty")
    (tmp_path / "t.txt").write_bytes(bad)
    refused(run("speak", ".", "--text-file", "t.txt"), 2, "t.txt is not UTF-8")


def test_an_output_that_exists_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "speech.wav").write_text("mine")
    refused(run("speak", ".", "hello"), 2, "--force")
    assert (tmp_path / "speech.wav").read_text() == "mine"


def test_a_byte_order_mark_is_no_text() -> None:
    assert speak.decode(b"\xef\xbb\xbfhello", "x") == "hello"


def test_verify_and_inspect(tmp_path: Path) -> None:
    from test_package import manifest

    from ovconvert import package

    (tmp_path / "golden").mkdir()
    for name in ("a.xml", "a.bin", "b.xml", "golden/gpt.npz"):
        (tmp_path / name).write_bytes(b"x" * 1024)
    package.save(manifest(package.seal(tmp_path)), tmp_path)
    assert "4 files as sealed" in run("verify", str(tmp_path)).stdout
    shown = json.loads(run("inspect", "--json", str(tmp_path)).stdout)
    assert [row["component"] for row in shown["components"]] == ["gpt"]
    assert shown["components"][0]["bytes"] == 3072
    assert "inputs_embeds" in run("inspect", str(tmp_path)).stdout
    (tmp_path / "a.bin").write_bytes(b"y")
    refused(run("verify", str(tmp_path)), 8, "a.bin: changed")
    (tmp_path / "manifest.json").write_text("{")
    refused(run("verify", str(tmp_path)), 8, "damaged")
    refused(run("inspect", str(tmp_path)), 8, "damaged")


def test_doctor_prints_its_checks_also_with_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    from ovconvert import doctor

    fault = doctor.Check("disk", doctor.FAULT, "nothing free", "make room")
    monkeypatch.setattr(doctor, "examine", lambda: (fault,))
    result = run("doctor", "--json")
    assert json.loads(result.stdout)[0]["advice"] == "make room"
    refused(result, 3, "disk: nothing free; make room")


def test_a_recipe_with_faults_exits_with_2(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\n[[step]]\nverb = "exprot"\n')
    refused(run("run", str(path)), 2, "did you mean 'export'?")
    refused(run("plan", str(path)), 2, "did you mean 'export'?")


def test_a_command_that_repeats_a_parameter_is_our_bug(monkeypatch: pytest.MonkeyPatch, garden: fakes.Garden) -> None:
    monkeypatch.setattr(sys.modules["fake_grow"], "Options", fakes.SeedOptions)
    verb = next(verb for verb in fakes.VERBS if verb.name == "grow")
    monkeypatch.setattr(commands, "place", lambda *a, **k: click.Argument(["kind"]))
    with pytest.raises(TypeError, match="named like a parameter"):
        verb_command(verb)


@dataclass
class Speech:
    """What a made-up model says."""

    samples: list[float]
    sample_rate: int
    request: Resolved
    timings: dict[str, float]
    audio_seconds: float
    first_audio_seconds: float = 0.4
    notes: tuple[str, ...] = ("the voice was cut",)
    seconds: float = 0.75
    settings: ClassVar[dict[str, int]] = {"num_beams": 2, "steps": 25}


class Voice:
    """A made-up model that remembers what it was asked."""

    takes: ClassVar[Takes] = whole("segment_by", "chunk_seconds")
    asked: ClassVar[list[tuple[str, speak.Options]]] = []

    def speak(self, text: str, request: speak.Options, on_progress: Progress) -> Speech:
        on_progress("segment", 1, 2)
        self.asked.append((text, request))
        return Speech([0.0], 22050, request.resolved({"num_beams": 2}), {"decoder": 0.5, "vocoder": 0.25}, 1.5)


def test_speak_refuses_a_folder_that_it_may_not_write_to_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr("ovconvert.runtime.open_package", lambda path, **how: opened.append(path))
    monkeypatch.setattr(speak, "writable", lambda folder: False)  # root may write everywhere
    result = run("speak", str(tmp_path), "Hello.", "-o", str(tmp_path / "deep" / "out.wav"))
    assert (result.exit_code, opened) == (2, [])
    assert "may not be written to" in result.stderr


def test_speak_hands_the_request_over_and_writes_the_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = ModuleType("ovconvert.runtime.audio")
    audio.write_wav = lambda path, samples, rate, overwrite: path.write_text(f"{samples} {rate}")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, audio.__name__, audio)
    opened = []
    monkeypatch.setattr("ovconvert.runtime.open_package", lambda path, **how: opened.append((path, how)) or Voice())
    out = tmp_path / "deep" / "out.wav"
    command = ["speak", str(tmp_path), "-", "-o", str(out), "--seed", "7", "--threads", "2", "--timings"]
    result = run(*command, stdin="Grüß Gott.\n".encode())
    assert result.exit_code == 0, result.output
    assert opened == [(tmp_path, {"threads": 2, "cache_dir": None})]
    text, request = Voice.asked[-1]
    assert (text, request.seed, request.num_beams) == ("Grüß Gott.\n", 7, speak.Request().num_beams)
    assert result.stdout.strip() == str(out)
    assert out.read_text() == "[0.0] 22050"
    assert [path.name for path in out.parent.iterdir()] == ["out.wav"]
    assert "real-time factor" in result.stderr
    for part in ("num_beams 2", "steps 25", "0.500", "segment 1/2", "note: the voice was cut"):
        assert part in result.stderr
    refused(run(*command, stdin=b"x"), 2, "--force")
    assert run(*command, "--force", stdin=b"x").exit_code == 0


@pytest.mark.parametrize(
    ("given", "do_sample", "num_beams"),
    [([], None, None), (["--do-sample", "--num-beams", "3"], True, 3), (["--no-do-sample"], False, None)],
)
def test_what_is_not_given_is_left_to_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], do_sample: bool | None, num_beams: int | None
) -> None:
    monkeypatch.setattr("ovconvert.runtime.open_package", lambda path, **how: Voice())
    monkeypatch.setattr("ovconvert.runtime.audio.write_wav", lambda path, samples, rate, overwrite: None)
    result = run("speak", str(tmp_path), "Hello.", "-o", str(tmp_path / "out.wav"), *given)
    assert result.exit_code == 0, result.output
    request = Voice.asked[-1][1]
    assert (request.do_sample, request.num_beams) == (do_sample, num_beams)


class Streamed(Voice):
    """A made-up model that gives two chunks, and may fail behind the first."""

    fails: ClassVar[bool] = False

    def speak(self, text: str, request: speak.Options, on_progress: Progress, on_chunk: Callable = print) -> Speech:
        import numpy as np

        from ovconvert.runtime.speech import Chunk

        on_chunk(Chunk(np.full(3, 0.5, np.float32), 8000, "one", 1, 2, True))
        if self.fails:
            raise QualityError("the decoder gives NaN")
        on_chunk(Chunk(np.full(4, -1.0, np.float32), 8000, "two", 1, 2, True, segment=1))
        return super().speak(text, request, on_progress)


SPOKEN = [*[16383] * 3, 0, 0, *[-32767] * 4]  # half of 32767, cut off


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> type[Streamed]:
    monkeypatch.setattr("ovconvert.runtime.open_package", lambda path, **how: Streamed())
    monkeypatch.setattr(Streamed, "fails", False)
    return Streamed


def test_a_stream_grows_a_wav(tmp_path: Path, streamed: type[Streamed]) -> None:
    import soundfile

    out = tmp_path / "deep" / "out.wav"
    result = run("speak", str(tmp_path), "Hello.", "--stream", "--chunk-seconds", "0.5", "-o", str(out))
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    samples, rate = soundfile.read(out, dtype="int16")
    assert (samples.tolist(), rate) == (SPOKEN, 8000)
    assert (Voice.asked[-1][1].segment_by, Voice.asked[-1][1].chunk_seconds) == ("sentence", 0.5)
    refused(run("speak", str(tmp_path), "Hello.", "--stream", "-o", str(out)), 2, "--force")
    streamed.fails = True
    assert run("speak", str(tmp_path), "Hello.", "--stream", "-o", str(out), "--force").exit_code == 6
    samples, _ = soundfile.read(out, dtype="int16")
    assert samples.tolist() == SPOKEN[:3]  # what was made stays, and is a WAV


@pytest.mark.parametrize("raw", [True, False])
def test_a_stream_goes_down_a_pipe(tmp_path: Path, streamed: type[Streamed], raw: bool) -> None:
    import numpy as np

    from ovconvert.runtime.streaming import HEADER_BYTES, UNKNOWN, header

    result = run("speak", str(tmp_path), "Hello.", "--stream", "-o", "-", *(["--raw"] if raw else []))
    assert result.exit_code == 0, result.output
    begin = b"" if raw else header(8000)
    assert result.stdout_bytes.startswith(begin)
    assert np.frombuffer(result.stdout_bytes[len(begin) :], "<i2").tolist() == SPOKEN
    assert len(header(8000)) == HEADER_BYTES
    assert UNKNOWN.to_bytes(4, "little") in header(8000)
    assert "note: the voice was cut" in result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["-o", "-"], "--stream"),
        (["-o", "x.wav", "--raw"], "--stream"),
        (["-o", "x.wav", "--raw", "--stream"], "only .raw"),
        (["-o", "x.raw", "--stream"], "only .wav"),
    ],
)
def test_streams_that_cannot_be(tmp_path: Path, streamed: type[Streamed], given: list[str], said: str) -> None:
    refused(run("speak", str(tmp_path), "Hello.", *given), 2, said)
