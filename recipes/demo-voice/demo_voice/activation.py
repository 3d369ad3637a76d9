"""The vocoder's activation for training on a CPU: activation.c, compiled on first use, as a function with a gradient."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SOURCE = Path(__file__).with_name("activation.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")  # not for linking: there, -ffast-math flushes denormals for all


def activate(activation: nn.Module, x: Tensor) -> Tensor:
    """Return activation(x) for an activation of the network and x (B, C, T) float32, several times faster than it does.

    Without a C compiler the network computes it itself.
    """
    library = _library()
    if library is None:
        return activation(x)  # type: ignore[no-any-return]
    filters = activation.upsample.filter, activation.downsample.lowpass.filter
    result: Tensor = _Activate.apply(library, x, *activation.act.factors(), *filters)
    return result


class _Activate(torch.autograd.Function):
    """x (B, C, T), the snake's factors (C, 1) and the twelve taps of each low-pass -> (B, C, T)."""

    @staticmethod
    def forward(context: Any, library: ctypes.CDLL, *given: Tensor) -> Tensor:
        given = tuple(value.contiguous() for value in given)
        context.compiled = library
        context.save_for_backward(*given)
        y = torch.empty_like(given[0])
        library.forward(*map(_pointer, given), *y.shape, _pointer(y))
        return y

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        given = context.saved_tensors
        gradient = gradients[0].contiguous()
        to_x = torch.empty_like(gradient)
        to_alpha, to_inverse = (torch.zeros_like(value, dtype=torch.float64) for value in given[1:3])
        made = map(_pointer, (to_x, to_alpha, to_inverse))
        context.compiled.backward(*map(_pointer, given), _pointer(gradient), *gradient.shape, *made)
        return None, to_x, to_alpha.float(), to_inverse.float(), None, None


def _pointer(value: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(value.data_ptr())


@cache
def _library() -> ctypes.CDLL | None:
    """Compile and load activation.c; None if there is no C compiler."""
    if shutil.which("cc") is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        made, built = Path(directory) / "activation.o", Path(directory) / "activation.so"
        subprocess.run(["cc", *FLAGS, "-c", "-o", str(made), str(SOURCE)], check=True)
        subprocess.run(["cc", "-shared", "-o", str(built), str(made), "-lm"], check=True)
        library = ctypes.CDLL(str(built))
    tensor, size = ctypes.c_void_p, ctypes.c_long
    library.forward.argtypes = [tensor] * 5 + [size] * 3 + [tensor]
    library.backward.argtypes = [tensor] * 6 + [size] * 3 + [tensor] * 3
    library.forward.restype = library.backward.restype = None
    return library
