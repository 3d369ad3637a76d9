"""A judge that finds something below its floor ends with its exit code, and has written every form of its report."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from ovconvert.cli import cli
from ovconvert.machine import describe
from ovconvert.report import Report, at_least, from_json

CODES = {"validate": 5, "quality": 6, "tune": 6}


@pytest.mark.parametrize("value", [0.5, 2.0])
@pytest.mark.parametrize("judge", CODES)
def test_gates(judge: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(f"ovconvert.judges.{judge}")
    found = Report(judge, "made-up", describe(versions={}), (at_least("gate", "all", "figure", value, "dB", 1.0),))
    monkeypatch.setattr(module, "requires", lambda package_dir, options: [])
    monkeypatch.setattr(module, "run", lambda package_dir, options, progress: found)
    reports = [tmp_path / f"report.{suffix}" for suffix in ("json", "md", "xml")]
    result = CliRunner().invoke(cli, [judge, str(tmp_path), *(word for path in reports for word in ("-r", str(path)))])
    falls_short = value < 1.0
    assert result.exit_code == (CODES[judge] if falls_short else 0), result.output
    assert bool(from_json(reports[0].read_bytes()).failed) == falls_short
    assert ("1 failed" in reports[1].read_text()) == falls_short
    assert ("<failure" in reports[2].read_text()) == falls_short
