import pytest
import seeded
import torch

from ovconvert.networks.latent_projector import LatentProjector, LatentProjectorConfig


@pytest.fixture(scope="module")
def state() -> seeded.State:
    """gpt_layer of the recording, with a codebook as wide as its output (the recorded codec is narrower)."""
    s2mel = seeded.load("2", "s2mel").below("models.")
    codec = {
        "quantizer.quantizers.0.codebook.weight": torch.randn(16, 8, generator=torch.Generator().manual_seed(0)),
        "quantizer.quantizers.0.out_project.weight": torch.randn(1024, 8, 1, generator=torch.Generator().manual_seed(1)),
        "quantizer.quantizers.0.out_project.bias": torch.zeros(1024),
        "encoder.0.embed.weight": torch.empty(4, 1024, 7),
        "encoder.0.convnext.0.pwconv1.weight": torch.empty(8, 4),
    }
    return {**{key: value for key, value in s2mel.items() if key.startswith("gpt_layer.")}, **codec}


def error(state: seeded.State, silent_codes: bool = True) -> float:
    vectors = seeded.load("2", "s2mel").vectors
    module = seeded.build(LatentProjector, LatentProjectorConfig.from_shapes(seeded.shapes(state)), state)
    assert seeded.unaccounted(state, module) == []
    codes = torch.arange(20)[None] % 16
    table = state["quantizer.quantizers.0.codebook.weight"] @ state["quantizer.quantizers.0.out_project.weight"][:, :, 0].T
    given = table[codes] if silent_codes else 0
    return seeded.relative(module(vectors["gpt_latent"], codes) - given, vectors["gpt_layer_out"])


def test_equals_recording(state: seeded.State) -> None:
    assert error(state) <= seeded.ONE_CALL


def test_notices_codes_and_weights(state: seeded.State) -> None:
    assert error(state, silent_codes=False) > seeded.ONE_CALL
    assert error(seeded.scaled(state, "gpt_layer.1.weight")) > seeded.ONE_CALL
