"""What cannot be combined is refused at once, with all of it."""

from __future__ import annotations

import pytest

from ovconvert.graphs.compress import Compression, problems


def test_int8_refuses_everything_that_is_about_int4() -> None:
    asked = Compression(
        group_size=64,
        group_size_fallback="error",
        ratio=0.5,
        backup_precision="none",
        all_layers=True,
        sensitivity_metric="weight_quantization_error",
        awq=True,
        scale_estimation=True,
        gptq=True,
    )
    found = "\n".join(problems(asked, with_data=True))
    for flag in ("group-size", "ratio", "backup-precision", "all-layers", "sensitivity-metric", "awq", "scale-estimation"):
        assert f"--{flag} needs --weight-format int4" in found
    assert "--gptq needs --weight-format int4" in found


def test_what_needs_data_says_so() -> None:
    asked = Compression("int4", ratio=0.5, sensitivity_metric="max_activation_variance", gptq=True, scale_estimation=True)
    found = problems(asked, with_data=False)
    assert [line.split(" ")[0] for line in found] == ["--scale-estimation", "--gptq", "--sensitivity-metric"]
    assert problems(asked, with_data=True) == []
    assert problems(Compression(quant_mode="int8"), with_data=False) != []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Compression("int4", ratio=1.5), "--ratio is 1.5; allowed: 0 to 1"),
        (Compression("int4", group_size=0), "--group-size is 0; allowed"),
        (Compression("int8", quant_mode="int8", smooth_quant_alpha=2.0), "--smooth-quant-alpha is 2.0; allowed"),
        (Compression("int8", quant_mode="int8", num_samples=0), "--num-samples is 0; allowed"),
        (Compression("int8", smooth_quant_alpha=0.5), "needs --quant-mode"),
        (Compression("int4", sensitivity_metric="weight_quantization_error"), "needs a --ratio below 1"),
        (Compression("int4", all_layers=True, backup_precision="none"), "exclude each other"),
        (Compression("int4", group_size=-1, group_size_fallback="ignore"), "has no use"),
        (Compression("int8"), "--dataset has no use"),
    ],
)
def test_each_problem_is_told(asked: Compression, said: str) -> None:
    assert said in "\n".join(problems(asked, with_data=True))


def test_formats_of_single_components_count() -> None:
    asked = Compression("int8", group_size=64, smooth_quant_alpha=0.5)
    assert len(problems(asked, with_data=False)) == 2
    assert problems(asked, with_data=True, formats=("int4", "int8-full")) == []
    assert problems(asked, with_data=False, formats=("int4", "int8-full")) == [
        "int8-full needs --dataset, a directory that 'ovconvert calibrate' made"
    ]


def test_the_plain_settings_are_fine() -> None:
    for asked in (Compression(), Compression("int4"), Compression("int4", sym=True, group_size=64, ratio=0.8, awq=True)):
        assert problems(asked, with_data=False) == []
