import pytest
import seeded
import torch
import torch.nn.functional as F

from ovconvert.networks.length_regulator import LengthRegulator, LengthRegulatorConfig
from ovconvert.runtime.resize import nearest_index


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.load("2", "s2mel")


def error(golden: seeded.Golden, state: seeded.State, index: torch.Tensor) -> float:
    state = seeded.below(state, "models.length_regulator.")
    module = seeded.build(LengthRegulator, LengthRegulatorConfig.from_shapes(seeded.shapes(state)), state)
    assert seeded.unaccounted(state, module) == []
    return seeded.relative(module(golden.vectors["S_infer"], index), golden.vectors["length_regulator_out"])


def test_equals_recording(golden: seeded.Golden) -> None:
    assert error(golden, golden.state, torch.from_numpy(nearest_index(20, 34))) <= seeded.ONE_CALL


def test_notices_a_wrong_index(golden: seeded.Golden) -> None:
    assert error(golden, golden.state, torch.arange(34) * 19 // 33) > seeded.ONE_CALL


@pytest.mark.parametrize("key", ["model.10.weight", "content_in_proj.bias"])
def test_notices_a_changed_weight(golden: seeded.Golden, key: str) -> None:
    state = seeded.scaled(golden.state, "models.length_regulator." + key, 1.5)
    assert error(golden, state, torch.from_numpy(nearest_index(20, 34))) > seeded.ONE_CALL


def test_index_is_the_one_of_torch() -> None:
    for source, target in [(n, int(n * 1.72)) for n in range(1, 1501, 7)] + [(749, 1291), (40, 7), (5, 5), (1, 9)]:
        ramp = torch.arange(source, dtype=torch.float32)[None, None]  # float64 would get a float64 scale
        expected = F.interpolate(ramp, size=target, mode="nearest")[0, 0].long()
        assert torch.equal(torch.from_numpy(nearest_index(source, target)), expected), (source, target)
