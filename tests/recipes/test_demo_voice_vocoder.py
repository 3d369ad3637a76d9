"""What the vocoder is trained with: the network's own forward, and a distance that does not mind where pulses lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from demo_voice import activation, vocoder

from ovconvert.networks.bigvgan import BigVgan

SMALL = replace(vocoder.CONFIG, channels=32)


@pytest.fixture
def generator() -> vocoder.Generator:
    """A small one whose snakes and filters all differ, so that none can stand in for another."""
    torch.manual_seed(0)
    made = vocoder.Generator(SMALL)
    for name, value in [*made.network.named_parameters(), *made.network.named_buffers()]:
        if name.endswith((".alpha", ".beta")):
            value.data.normal_(0, 0.5)
        elif name.endswith(".filter"):
            value.data += 0.05 * torch.randn_like(value)
    return made


def test_training_runs_the_forward_of_the_network(generator: vocoder.Generator) -> None:
    mel = torch.randn(2, 80, 6) * vocoder.SPREAD + vocoder.MEAN
    network = BigVgan(SMALL)
    network.load_state_dict(vocoder.folded(generator.network.state_dict()))
    assert torch.allclose(generator(mel).clamp(-1, 1), network(mel), atol=1e-5)


def test_gradients_are_those_of_the_network(generator: vocoder.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    mel = torch.randn(2, 80, 6) * vocoder.SPREAD + vocoder.MEAN

    def gradients() -> list[Any]:
        generator.zero_grad()
        generator(mel).square().sum().backward()
        return [value.grad.clone() for value in generator.parameters()]

    fast = gradients()
    monkeypatch.setattr(activation, "_library", lambda: None)
    for found, wanted in zip(fast, gradients(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def flushes_denormals() -> bool:
    return not (np.full(64, 1e-40, np.float32) * np.float32(1)).any()


def test_the_compiled_activation_leaves_the_arithmetic_of_the_process_alone() -> None:
    if activation._library() is None:
        pytest.skip("no C compiler")
    assert not flushes_denormals()  # OpenVINO takes small integers for denormals, and makes wrong shapes of them
    torch.set_flush_denormal(True)
    try:
        assert flushes_denormals()
    finally:
        torch.set_flush_denormal(False)


def test_pulses_may_lie_elsewhere_but_not_look_otherwise() -> None:
    time = torch.arange(16000)
    wave = torch.where(time % 130 < 4, 1.0, 0.0)[None, None]
    assert vocoder.misalignment(wave.roll(50, -1), wave) < 0.01
    assert vocoder.misalignment(torch.sin(time * 6.2832 / 130)[None, None], wave) > 0.3
