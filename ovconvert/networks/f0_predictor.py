"""Log-mel to the fundamental frequency of every frame.

CosyVoice, spec section 9.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes, below, count


@dataclass(frozen=True)
class F0PredictorConfig:
    mel: int
    channels: int
    layers: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> F0PredictorConfig:
        """Read every size; keys as in hift.pt."""
        own = below(shapes, "f0_predictor.")
        channels, mel, _ = own["condnet.0.weight"]
        return cls(mel=mel, channels=channels, layers=count(own, "condnet."))


class _Predictor(nn.Module):
    def __init__(self, config: F0PredictorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in range(config.layers):
            layers += (nn.Conv1d(config.channels if layer else config.mel, config.channels, 3, padding=1), nn.ELU())
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(config.channels, 1)


class F0Predictor(nn.Module):
    """forward(mel (1, 80, T), natural-log mel) -> f0 (1, T) in Hz, at least 0."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: F0PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.f0_predictor = _Predictor(config)

    def forward(self, mel: Tensor) -> Tensor:
        hidden = self.f0_predictor.condnet(mel).transpose(1, 2)
        return self.f0_predictor.classifier(hidden)[:, :, 0].abs()
