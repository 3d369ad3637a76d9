"""Start values: the networks leave some tensors empty, since they are made to be loaded."""

from __future__ import annotations

import torch
from torch import nn

from ovconvert.families.indextts2.synthetic import constant_table


def initialise(module: nn.Module, deviation: float = 0.02) -> None:
    """Fill every parameter and stored table of `module`: gains one, offsets zero, residual scales small, the rest normal.

    Matrices get `deviation`; convolutions, which PyTorch has initialised by their fan-in, stay as they are.
    """
    for name, parameter in module.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.1 if "convnext" in name else 1.0)
        elif parameter.ndim == 1 and name.endswith("weight"):
            nn.init.ones_(parameter)
        elif parameter.ndim == 1 or "pos_bias" in name:
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, 0.0, deviation)
    for name, buffer in module.named_buffers():
        table = constant_table(name, tuple(buffer.shape))
        if table is not None:
            buffer.copy_(torch.from_numpy(table))
