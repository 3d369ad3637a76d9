"""A checkpoint of one small part: what is read, what is missing, and what nothing explains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ovconvert.parts import FLOORS, Part, PartedCheckpoint, Reads, Shapes, floats, ids

STATE = {
    "deep.weight": torch.arange(6.0).reshape(2, 3),
    "deep.bias": torch.ones(2),
    "deep.old": torch.zeros(1),
    "step": torch.zeros(1),
}


class Network(torch.nn.Linear):
    UNUSED = ("inner.old",)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {f"inner.{key}": value for key, value in super().state_dict(*args, **kwargs).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict(
            {key.removeprefix("inner."): value for key, value in state_dict.items()}, *args, **kwargs
        )


PART = Part(
    "toy",
    "encoder",
    (Reads("model", "deep.", "inner."),),
    lambda shapes, settings: (shapes["inner.weight"], settings),
    lambda config: Network(*config[0][::-1]),
    lambda config: (floats(("x", (1, "frames", config[0][1]))) + ids(("mask", (1, "frames")), ("codes", ("frames",))), ()),
    example=lambda config, sizes, rng: {"codes": np.arange(sizes["frames"])},
    weights_only=True,
)


class Checkpoint(PartedCheckpoint):
    SUFFIX = ".pt"

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self._state = state
        shapes: dict[str, Shapes] = {"model": {key: tuple(value.shape) for key, value in state.items()}}
        super().__init__([PART], shapes, "the settings")
        self.problems: list[str] = []
        self.configure(self.problems)

    def read_state(self, state: str) -> Mapping[str, torch.Tensor]:
        assert state == "model"
        return self._state


def test_a_part_is_sized_filled_and_described() -> None:
    opened = Checkpoint(STATE)
    assert opened.configs == {"toy": ((2, 3), "the settings")}
    module = opened.build("toy")
    assert torch.equal(module(torch.eye(3)), STATE["deep.weight"].T + 1)
    inputs = opened.example("toy", {"frames": 4}, np.random.default_rng(0))
    assert inputs["x"].shape == (1, 4, 3) and inputs["x"].std() > 0
    assert inputs["mask"].tolist() == [[1] * 4] and inputs["codes"].tolist() == [0, 1, 2, 3]
    (component,) = opened.components()
    assert component.weights_only and component.floor_db == FLOORS


@pytest.mark.parametrize("strict", [True, False])
def test_what_nothing_explains_is_a_problem_only_where_it_is_asked(strict: bool) -> None:
    opened = Checkpoint(STATE)
    left = opened.check_keys(opened.problems, strict=strict)
    assert opened.problems == ["model.pt: step is unexpected (--no-strict leaves such keys out)"] * strict
    assert left == (("model:deep.old",) if strict else ("model:deep.old", "model:step"))
    known: list[str] = []
    assert (
        opened.check_keys(known, strict=True, unused={"model": ("st*",)}) == ("model:deep.old", "model:step") and not known
    )


def test_all_that_is_missing_or_misshapen_is_named() -> None:
    opened = Checkpoint({"deep.weight": STATE["deep.weight"], "deep.bias": torch.ones(3)})
    opened.check_keys(opened.problems, strict=True)
    assert opened.problems == ["model.pt (toy): inner.bias is [3], must be [2]"]
    opened = Checkpoint({"deep.bias": torch.ones(2)})
    opened.check_keys(opened.problems, strict=True)  # its bias only seems to be strange
    assert opened.problems == ["model.pt: 'inner.weight' is missing, without which toy has no size"]
