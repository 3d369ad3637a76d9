"""`quality` on a real package of seeded weights: the unchanged passes, another checkpoint's decoder does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from damaged import damage

from ovconvert import package
from ovconvert.cli import cli
from ovconvert.judges import quality
from ovconvert.judges.quality import Options
from ovconvert.quality.opening import open_program, open_reference
from ovconvert.runtime.request import Request
from ovconvert.stages import export, quantize

TEXT = "Good morning."


@pytest.fixture(scope="module")
def request_of(checkpoint: Path) -> Request:
    return Request(voice=checkpoint / "voices/sample.wav", num_beams=1, steps=2, max_new_tokens=8)


@pytest.mark.parametrize("do_sample", [False, True])
def test_logits_of_given_codes_are_those_that_drew_them(package_dir: Path, request_of: Request, do_sample: bool) -> None:
    from dataclasses import replace

    program = open_program(package_dir)
    asked = replace(request_of, do_sample=do_sample, repetition_penalty=1.0)
    codes = next(program.stream(TEXT, asked)).codes
    logits = program.logits(TEXT, codes, asked)
    assert len(codes) and logits.shape[0] == len(codes) + 1
    chosen = np.array_equal(logits[:-1].argmax(-1), codes)
    assert chosen != do_sample  # the likeliest are taken; drawn ones are others, or the test would say nothing


def test_the_checkpoint_gives_the_logits_of_its_package(package_dir: Path, checkpoint: Path, request_of: Request) -> None:
    program, reference = open_program(package_dir), open_reference(checkpoint, package_dir)
    codes = np.arange(5)
    theirs, ours = (one.logits(TEXT, codes, request_of) for one in (reference, program))
    others = program.logits(TEXT, codes[::-1].copy(), request_of)
    tolerance = 1e-3 * float(np.abs(theirs).max())
    assert np.abs(theirs - ours).max() < tolerance < np.abs(theirs - others).max()


@pytest.mark.slow
def test_a_package_beside_itself_is_the_same(package_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text(f"{TEXT}\nGood night.\n")
    options = Options(
        reference=package_dir,
        texts=texts,
        voices=(checkpoint / "voices",),
        num_beams=1,
        steps=2,
        max_new_tokens=24,
        min_top1=100.0,
    )
    assert quality.requires(package_dir, options) == []
    report = quality.run(package_dir, options)
    assert report.failed == () and {row.metric for row in report.rows if row.subject == "gate"} >= {"top-1 agreement"}
    assert "MOS proxy" in report.options["make_up"]


def test_all_that_is_wrong_is_told_at_once(package_dir: Path, tmp_path: Path) -> None:
    options = Options(
        threads=0, min_top1=99.0, reference=tmp_path / "none", max_mos_drop=-1.0, language_model=tmp_path / "x"
    )
    problems = quality.requires(package_dir, options)
    told = ("threads 0", "max-mos-drop -1.0", "language model", "no such package or checkpoint", "no voice")
    assert all(any(text in problem for problem in problems) for text in told), problems


@pytest.mark.slow
def test_wrong_scales_in_one_layer_are_heard(tmp_path: Path) -> None:
    trained = Path(__file__).parents[2] / "recipes" / "demo-voice" / "checkpoint"  # of noise, nothing can be heard
    original = export.run(trained, tmp_path / "fp32", export.Options(weight_format="fp32"))
    small = quantize.run(original, tmp_path / "int8", quantize.Options(components=("flow_estimator",)))
    layer = "estimator.wavenet.res_skip_layers.0.conv.conv"
    assert package.load(small).packed("flow_estimator").layers[layer].bits == 8
    worse = damage(small, tmp_path / "worse", "flow_estimator", layer, factor=3.0)
    (tmp_path / "texts.txt").write_text("Open the window.\n")
    said = ("--texts", str(tmp_path / "texts.txt"), "--voices", str(trained / "voices" / "slt.wav"), "--no-teacher-forced")
    codes = [
        CliRunner().invoke(cli, ["quality", str(place), "--reference", str(original), *said]).exit_code
        for place in (small, worse)
    ]
    assert codes == [0, 6]
