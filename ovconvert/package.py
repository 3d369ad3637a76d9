"""The package on disk: IR files, assets, golden tensors and the manifest that describes and seals them.

`manifest.json` is byte-stable: the same source, options and tool versions give the same bytes. Timings therefore
live beside it, in `export_report.json`, which the manifest does not cover.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ovconvert.errors import EnvironmentFault, IntegrityError, OvconvertError, UsageError, listing
from ovconvert.spec import Component, Dim

FORMAT = 2  # 2: an estimator takes the prompt as an input of its own
MANIFEST = "manifest.json"
ASSETS = "assets"
GOLDEN = "golden"
EXPORT_REPORT = "export_report.json"
REFUSED_READS = (errno.EACCES, errno.EPERM, errno.EIO)
REFUSED_WRITES = (
    *REFUSED_READS,
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.EBUSY),
)
OWNER = ".owner"  # in a partial directory: the process that writes it
UNSEALED = (EXPORT_REPORT, OWNER)


@dataclass(frozen=True)
class Graph:
    """One IR: the .xml, and the .bin it reads, which another IR of the same component may own."""

    xml: str
    bin: str


@dataclass(frozen=True)
class LayerPrecision:
    """How the weights of a layer are stored: OpenVINO's name of the type, and for integers how they are scaled.

    `group_size` is the number of values that share a scale, -1 for one scale per channel; it and `symmetric` are None for
    weights that stayed in floating point.
    """

    type: str
    bits: int
    values: int
    group_size: int | None = None
    symmetric: bool | None = None
    activations: str = "fp32"

    def words(self) -> str:
        """Return the precision as reports and rt_info write it: `u4, group of 128, asymmetric`."""
        if self.group_size is None:
            return f"{self.type}, kept"
        scales = "per channel" if self.group_size < 0 else f"group of {self.group_size}"
        scaled = f"{self.type}, {scales}, {'symmetric' if self.symmetric else 'asymmetric'}"
        return scaled if self.activations == "fp32" else f"{scaled}, {self.activations} activations"


@dataclass(frozen=True)
class PackedComponent:
    """A component as it lies in the package.

    `graphs` is keyed by form: "plain" for a graph without cache, "stateful" for the step with in-model state, "with_past"
    for the step with explicit cache, "cross" for what makes its keys and values of an encoder's states, "full_sequence"
    for a decoder that was not split. `activations` is the type in which the layers compute; `layers` says of each layer of
    a quantized component what its weights became, in all forms alike.
    """

    component: Component
    weight_format: str
    graphs: dict[str, Graph]
    golden: str
    runtime_options: dict[str, str] = field(default_factory=dict)
    activations: str = "fp32"
    layers: dict[str, LayerPrecision] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Return what floors are chosen by: the weight format, or "int8-full" if the activations are quantized too."""
        return self.weight_format if self.activations == "fp32" else f"{self.activations}-full"

    @property
    def floor_db(self) -> float:
        """Return the lowest signal-to-noise ratio against PyTorch that validation accepts at this precision."""
        return self.component.floor_db[self.precision]


@dataclass(frozen=True)
class Manifest:
    """All that a runtime needs to know, without looking into graphs or guessing from file names."""

    family: str
    variant: str
    sample_rate: int
    dims: dict[str, Dim]
    components: tuple[PackedComponent, ...]
    files: dict[str, str]  # relative path: sha256
    lineage: dict[str, object]
    format: int = FORMAT

    def packed(self, name: str) -> PackedComponent:
        """Return the component called `name`. Raises UsageError if the package has none."""
        for packed in self.components:
            if packed.component.name == name:
                return packed
        have = ", ".join(packed.component.name for packed in self.components)
        raise UsageError(f"the package has no component {name!r}; have: {have}")

    def named(self) -> set[str]:
        """Return the files that the components name: a package without one of them is not whole."""
        graphs = {name for packed in self.components for graph in packed.graphs.values() for name in (graph.xml, graph.bin)}
        return graphs | {packed.golden for packed in self.components}

    def has(self, name: str) -> bool:
        """Tell whether the package has a component called `name`."""
        return any(packed.component.name == name for packed in self.components)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits, reading it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(directory: Path) -> dict[str, str]:
    """Return {relative path: sha256} of every file in `directory` that a manifest covers."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    names = {path.relative_to(directory).as_posix(): path for path in paths}
    return {name: sha256(path) for name, path in names.items() if name not in (MANIFEST, *UNSEALED)}


def save(manifest: Manifest, directory: Path) -> None:
    """Write `manifest` into `directory`, with sorted keys."""
    data = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2)
    (directory / MANIFEST).write_bytes(data + b"\n")


def load(directory: Path) -> Manifest:
    """Return the manifest of the package at `directory`.

    Raises UsageError if there is no package, IntegrityError if its manifest is damaged or of another format.
    """
    path = directory / MANIFEST
    if not directory.is_dir():
        raise UsageError(f"no package at {directory}: not a directory; make one with 'ovconvert export'")
    if not path.is_file():
        raise UsageError(f"no package at {directory}: it has no {MANIFEST}; make one with 'ovconvert export'")
    data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=dict).get("format")
        if found != FORMAT:
            raise IntegrityError(f"{path} has format {found!r}; this version reads format {FORMAT}: export again")
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}; copy the package again or export anew") from error


def verify(directory: Path, only: Iterable[str] | None = None) -> list[str]:
    """Compare the files of a package with its manifest's hashes; return the names of files it does not list.

    `only` limits the check to some relative paths. Raises IntegrityError with every missing and changed file.
    """
    manifest = load(directory)
    wanted = manifest.files if only is None else {name: manifest.files[name] for name in only}
    problems = [f"{name}: used by a component, but not listed" for name in sorted(manifest.named() - set(manifest.files))]
    for name, digest in wanted.items():
        path = directory / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif sha256(path) != digest:
            problems.append(f"{name}: changed since the package was made")
    if problems:
        raise IntegrityError(listing(f"{directory} differs from its manifest; copy it again or export anew:", problems))
    present = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in present if name not in (*manifest.files, MANIFEST, *UNSEALED))


@contextmanager
def whole(dest: Path, *, force: bool = False, mark: str = MANIFEST) -> Iterator[Path]:
    """Give a fresh `<dest>.partial` directory that becomes `dest` only if the block ends well.

    Raises UsageError if `dest` may not be written (see `refuse_existing`), EnvironmentFault if the disk fills up. On any
    error the partial directory is removed and an existing `dest` stays as it was.
    """
    refuse_existing(dest, force=force, mark=mark)
    dest = Path(os.path.abspath(dest))
    partial = _claim(dest)
    try:
        yield partial
        _put_in_place(partial, dest)
    except OSError as error:
        fault = fault_of(error, partial, dest)
        if fault is None:
            raise
        raise fault from error
    finally:
        if partial.exists():
            shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, dest: Path) -> None:
    """Make `partial` the directory `dest`: the old one is moved aside first and deleted last, so it is never half gone."""
    (partial / OWNER).unlink()
    with tempfile.TemporaryDirectory(prefix=f"{dest.name}.old", dir=dest.parent, ignore_cleanup_errors=True) as aside:
        old = Path(aside) / dest.name
        if dest.exists():
            dest.rename(old)
        try:
            partial.rename(dest)
        except OSError:
            if old.exists():
                old.rename(dest)
            raise


def _claim(dest: Path) -> Path:
    """Make `<dest>.partial` for this process alone; what a killed run of ours left there is removed.

    Raises UsageError if another run is writing there or if the directory is not ours.
    """
    partial = dest.with_name(dest.name + ".partial")
    owner = partial / OWNER
    try:
        if partial.exists() and not owner.is_file():
            raise UsageError(f"{partial} is in the way and is not ours; move it, or name another destination")
        if partial.exists():
            process = owner.read_text().strip()
            if process.isdigit() and int(process) != os.getpid() and Path(f"/proc/{process}").exists():
                raise UsageError(f"process {process} is writing {dest}; wait for it, or name another destination")
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        owner.write_text(f"{os.getpid()}\n")
    except OSError as error:
        fault = fault_of(error, partial, dest)
        if fault is None:
            raise
        raise fault from error
    return partial


def refuse_existing(dest: Path, *, force: bool, mark: str = MANIFEST) -> None:
    """Raise UsageError unless `dest` is free, empty, or a directory of ours that `force` allows to replace.

    `mark` is the file that tells a directory of ours from one that merely exists.
    """
    if os.path.islink(dest):
        raise UsageError(f"destination {dest} is a symbolic link; name the directory it points to")
    if dest.exists() and not dest.is_dir():
        raise UsageError(f"destination {dest} is a file; name a directory")
    if not dest.exists() or not any(dest.iterdir()):
        return
    if not force:
        raise UsageError(f"destination {dest} exists and is not empty; name another, or replace it with --force")
    if not (dest / mark).is_file():
        raise UsageError(f"destination {dest} has no {mark}, so it was not made by this command: not replaced")


def fault_of(error: OSError, *written: Path) -> OvconvertError | None:
    """Return the error to show for one of the system's, or None if it is a bug of ours.

    `written` are the places that were being written: a refusal there is a fault of the disk or of the name, a refusal
    elsewhere one of what was to be read.
    """
    dest = written[-1]
    place = Path(os.path.abspath(error.filename)) if isinstance(error.filename, str | os.PathLike) else None
    if place is None or any(root in (place, *place.parents) or place in root.parents for root in written):
        return write_fault(dest, error) if error.errno in REFUSED_WRITES or place in dest.parents else None
    if error.errno in REFUSED_READS:
        return UsageError(f"{place} cannot be read: {error.strerror}; check its permissions and its disk")
    return None


def write_fault(dest: Path, error: OSError) -> EnvironmentFault:
    """Return the error for a write below `dest` that the system refused."""
    free = shutil.disk_usage(existing_parent(dest)).free
    return EnvironmentFault(
        f"cannot write {dest}: {error.strerror or error} ({error.filename or 'no file named'}); "
        f"{free / 2**30:.1f} GiB free there; make room or name another place. Nothing half-written was left behind."
    )


def plain(name: str) -> bool:
    """Tell whether `name` names a file in a directory and cannot lead out of it."""
    return name == Path(name).name and name not in ("", ".", "..") and "\\" not in name


def existing_parent(path: Path) -> Path:
    """Return the nearest existing directory at or above `path`."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
