"""What the vocoder looks at: as far as the manifest says and no further, so that it can be run in windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovconvert import package
from ovconvert.families.indextts2.reach import vocoder_reach
from ovconvert.networks.bigvgan import BigVgan, BigVganConfig
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.windows import windows

FULL = BigVganConfig(
    mel=2,
    channels=64,
    rates=(4, 4, 2, 2, 2, 2),
    kernels=(8, 8, 4, 4, 4, 4),
    block_kernels=(3, 7, 11),
    dilations=(1, 3, 5),
    final_bias=False,
    log_scale=True,
    tanh=False,
)
SMALL = replace(FULL, channels=8, rates=(4, 3, 2), kernels=(8, 5, 6), block_kernels=(5, 3), dilations=(1, 2))


@pytest.mark.parametrize("config", [FULL, SMALL, replace(SMALL, dilations=(1,)), replace(SMALL, block_kernels=(9,))])
def test_the_reach_is_that_of_the_network(config: BigVganConfig) -> None:
    """Every tap positive and nothing clipped: a frame that is looked at changes the audio, however little."""
    import torch

    vocoder = BigVgan(config).double().eval()
    with torch.no_grad():
        for parameter in (*vocoder.parameters(), *vocoder.buffers()):
            parameter.fill_(1.0 / max(parameter.shape[1:].numel(), 1) if parameter.ndim == 3 else 0.0)
        for name, parameter in vocoder.named_parameters():
            if name.endswith("beta"):
                parameter.fill_(40.0)  # 1 / e^40 : a snake that is a straight line
    reach = vocoder_reach(config)
    middle = reach + 2
    mel = torch.zeros(1, config.mel, 2 * middle + 1, dtype=torch.float64, requires_grad=True)
    hop = int(np.prod(config.rates))
    vocoder(mel)[0, 0, hop * middle : hop * (middle + 1)].sum().backward()
    assert mel.grad is not None
    seen = torch.nonzero(mel.grad[0].abs().sum(0))[:, 0]
    assert max(middle - int(seen.min()), int(seen.max()) - middle) == reach


@pytest.fixture(scope="module")
def mel() -> np.ndarray:
    return (np.random.default_rng(3).standard_normal((1, 80, 150)) * 2 - 5).astype(np.float32)


def voiced(engine: Engine, mel: np.ndarray, size: int, reach: int) -> np.ndarray:
    parts = []
    for window in windows(mel.shape[2], size, reach):
        seen = np.ascontiguousarray(mel[:, :, window.begin : window.end])
        whole = engine.run("vocoder", mel=seen)["waveform"].reshape(-1)
        parts.append(whole[256 * window.skip : 256 * (window.skip + window.count)])
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def engine(package_dir: Path) -> Engine:
    return Engine(package_dir)


@pytest.mark.parametrize(("frames", "size"), [(150, 40), (150, 13), (97, 40), (61, 40), (60, 40), (9, 5)])
def test_no_seams(engine: Engine, mel: np.ndarray, frames: int, size: int) -> None:
    reach = engine.manifest.packed("vocoder").component.reach
    whole = engine.run("vocoder", mel=mel[:, :, :frames].copy())["waveform"].reshape(-1)
    assert reach > 0
    assert np.abs(voiced(engine, mel[:, :, :frames], size, reach) - whole).max() <= 1e-5 * np.abs(whole).max()


def test_seams_where_too_little_is_seen(engine: Engine, mel: np.ndarray) -> None:
    whole = engine.run("vocoder", mel=mel)["waveform"].reshape(-1)
    for reach in (0, 2):
        assert np.abs(voiced(engine, mel, 40, reach) - whole).max() > 1e-5 * np.abs(whole).max()


def test_only_the_vocoder_says_how_far_it_looks(package_dir: Path) -> None:
    found = {packed.component.name: packed.component.reach for packed in package.load(package_dir).components}
    assert [name for name, reach in found.items() if reach] == ["vocoder"]
