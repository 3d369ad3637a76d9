"""The package: byte-stable manifest, hashes that tell what changed, and nothing half-written."""

from __future__ import annotations

import builtins
import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest

from ovconvert import package
from ovconvert.errors import EnvironmentFault, IntegrityError, UsageError
from ovconvert.package import Graph, Manifest, PackedComponent
from ovconvert.spec import CacheSpec, Component, Dim, Port


def manifest(files: dict[str, str]) -> Manifest:
    step = Component(
        "gpt",
        "step",
        (Port("inputs_embeds", "float32", ("batch", "n", 8)),),
        (Port("logits", "float32", ("batch", "n", 10)),),
        CacheSpec(2, 2, 4),
        ("*.norm.*",),
        {"fp32": 80.0},
    )
    graphs = {"with_past": Graph("b.xml", "a.bin"), "stateful": Graph("a.xml", "a.bin")}
    packed = PackedComponent(step, "fp32", graphs, "golden/gpt.npz", {"KV_CACHE_PRECISION": "f32"})
    return Manifest("demo", "1", 22050, {"n": Dim(5, (1, 9))}, (packed,), files, {"source": {"b": 1, "a": 2}})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "pkg"
    (made / "assets").mkdir(parents=True)
    (made / "golden").mkdir()
    for name in ("a.xml", "a.bin", "b.xml", "golden/gpt.npz", "assets/words.txt"):
        (made / name).write_text(name)
    package.save(manifest(package.seal(made)), made)
    return made


def test_a_manifest_comes_back_and_its_bytes_are_stable(directory: Path) -> None:
    before = (directory / "manifest.json").read_bytes()
    read = package.load(directory)
    assert read == manifest(package.seal(directory))
    package.save(read, directory)
    assert (directory / "manifest.json").read_bytes() == before


def test_the_order_of_a_dict_does_not_change_the_bytes(directory: Path) -> None:
    read = package.load(directory)
    before = (directory / "manifest.json").read_bytes()
    files = dict(reversed(read.files.items()))
    package.save(manifest(files), directory)
    assert (directory / "manifest.json").read_bytes() == before


def test_verify_is_content_with_what_was_sealed(directory: Path) -> None:
    (directory / "export_report.json").write_text("{}")
    assert package.verify(directory) == []


def test_verify_names_missing_changed_and_extra(directory: Path) -> None:
    (directory / "extra.txt").write_text("x")
    assert package.verify(directory) == ["extra.txt"]
    (directory / "a.bin").unlink()
    (directory / "assets" / "words.txt").write_text("other")
    with pytest.raises(IntegrityError) as caught:
        package.verify(directory)
    assert "a.bin: missing" in str(caught.value)
    assert "assets/words.txt: changed" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "damaged"),
        (b"", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[]", "damaged"),
        (b'{"format": 99}', "format 99"),
        (b'{"format": 1}', "damaged"),
    ],
)
def test_a_damaged_manifest_is_an_integrity_error(directory: Path, data: bytes, said: str) -> None:
    (directory / "manifest.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=said):
        package.load(directory)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("x")])
def test_what_is_no_package_is_a_usage_error(tmp_path: Path, make: object) -> None:
    path = tmp_path / "none"
    make(path)  # type: ignore[operator]
    with pytest.raises(UsageError, match="no package at"):
        package.load(path)


def test_an_unknown_component_is_told_with_those_there_are(directory: Path) -> None:
    read = package.load(directory)
    assert read.has("gpt")
    with pytest.raises(UsageError, match="have: gpt"):
        read.packed("vocoder")


def test_whole_renames_only_what_is_whole(tmp_path: Path) -> None:
    dest = tmp_path / "deep" / "pkg"
    with package.whole(dest) as partial:
        (partial / "manifest.json").write_text("1")
        assert not dest.exists()
    assert [path.name for path in dest.parent.iterdir()] == ["pkg"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_whole_leaves_nothing_behind_on_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), package.whole(tmp_path / "pkg") as partial:
        (partial / "half.txt").write_text("x")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_whole_keeps_the_old_on_an_error_and_replaces_it_on_success(directory: Path) -> None:
    with pytest.raises(ValueError), package.whole(directory, force=True):
        raise ValueError
    assert package.verify(directory) == []
    with package.whole(directory, force=True) as partial:
        (partial / "manifest.json").write_text("new")
    assert [path.name for path in directory.iterdir()] == ["manifest.json"]


def test_whole_gives_the_old_back_if_the_new_cannot_take_its_place(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(EnvironmentFault, match="Input/output error"), package.whole(directory, force=True) as partial:
        (partial / "manifest.json").write_text("new")
    assert package.verify(directory) == []
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_whole_refuses_what_exists(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--force"), package.whole(directory):
        pass
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not made by this command"), package.whole(foreign, force=True):
        pass
    with pytest.raises(UsageError, match="is a file"), package.whole(foreign / "thesis.txt", force=True):
        pass
    assert (foreign / "thesis.txt").read_text() == "mine"


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "pkg.partial").mkdir()
    (tmp_path / "pkg.partial" / "old.bin").write_text("x")
    (tmp_path / "pkg.partial" / package.OWNER).write_text("0\n")
    with package.whole(tmp_path / "pkg") as partial:
        (partial / "new.txt").write_text("x")
    assert [path.name for path in (tmp_path / "pkg").iterdir()] == ["new.txt"]


def test_a_partial_directory_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pkg.partial").mkdir()
    (tmp_path / "pkg.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="in the way"), package.whole(tmp_path / "pkg"):
        pass
    assert (tmp_path / "pkg.partial" / "thesis.txt").read_text() == "mine"


def test_two_runs_do_not_write_the_same_destination(tmp_path: Path) -> None:
    with package.whole(tmp_path / "pkg") as partial:
        (partial / package.OWNER).write_text("1\n")  # a process that runs for as long as the machine
        with pytest.raises(UsageError, match="process 1 is writing"), package.whole(tmp_path / "pkg"):
            pass
        (partial / "new.txt").write_text("x")
    assert [path.name for path in (tmp_path / "pkg").iterdir()] == ["new.txt"]


def test_a_package_without_a_file_that_its_components_use_is_not_whole(directory: Path) -> None:
    read = package.load(directory)
    (directory / "b.xml").unlink()
    files = {name: digest for name, digest in read.files.items() if name != "b.xml"}
    package.save(manifest(files), directory)
    with pytest.raises(IntegrityError, match=r"b.xml: used by a component, but not listed"):
        package.verify(directory)


def test_destinations_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("x")
    for dest, error in (("link", UsageError), ("file/pkg", EnvironmentFault), ("x" * 252, EnvironmentFault)):
        with pytest.raises(error), package.whole(tmp_path / dest):
            pass


def test_what_cannot_be_read_is_not_called_unwritable(tmp_path: Path) -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "source" / "config.yaml"))
    with pytest.raises(UsageError, match=r"config.yaml cannot be read"), package.whole(tmp_path / "deep" / "pkg"):
        raise refused


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> io.IOBase:
        raise OSError(errno.ENOSPC, "No space left on device", str(args[0]))

    with pytest.raises(EnvironmentFault, match="No space left on device"), package.whole(tmp_path / "pkg") as partial:
        (partial / "some.txt").write_text("x")
        monkeypatch.setattr(builtins, "open", full)
        open(partial / "big.bin", "wb")  # noqa: SIM115 (it never opens)
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_the_system_is_one_clear_error(tmp_path: Path) -> None:
    code = (
        "import pathlib, resource; from ovconvert import package; from ovconvert.errors import EnvironmentFault\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with package.whole(pathlib.Path('pkg')) as partial:\n"
        "        (partial / 'big.bin').write_bytes(bytes(5000))\n"
        "except EnvironmentFault as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pkg: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_ours_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), package.whole(tmp_path / "pkg") as partial:
        (partial / "none").read_bytes()
    assert list(tmp_path.iterdir()) == []
