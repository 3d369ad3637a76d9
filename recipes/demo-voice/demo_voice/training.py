"""One training run: seeded, counted in steps, resumable, its losses written down."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

SAVE_SECONDS = 120
LOG_STEPS = 25  # fewer in a short run, so that a fall can be seen


class Training:
    """Steps of the training `name`, from where WORK/<name>/state.pt left off.

    `modules` and `optimizers` are saved and restored by name. Whatever a step draws comes from `rng(step)`, so a resumed run
    sees the batches that an unbroken one would have seen.
    """

    def __init__(
        self,
        work: Path,
        name: str,
        steps: int,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        seed: int = 0,
    ) -> None:
        self.directory = work / name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.name, self.total, self.seed = name, steps, seed
        self.modules, self.optimizers = dict(modules), dict(optimizers)
        self.step = 0
        self.seconds = 0.0
        self._sums: dict[str, list[float]] = {}
        self._every = max(1, min(LOG_STEPS, steps // 4))
        self._peaks = {key: value.param_groups[0]["lr"] for key, value in self.optimizers.items()}
        if self.state_path.is_file():
            state = torch.load(self.state_path, weights_only=True)
            self.step, self.seconds = state["step"], state["seconds"]
            for key, module in self.modules.items():
                module.load_state_dict(state["modules"][key])
            for key, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][key])

    @property
    def state_path(self) -> Path:
        return self.directory / "state.pt"

    def rng(self) -> np.random.Generator:
        """Return the generator of the present step; torch is seeded from it too."""
        torch.manual_seed((self.seed << 32) + self.step)
        return np.random.default_rng([self.seed, self.step])

    def steps(self, *, warm: float = 0.03, floor: float = 0.03) -> Iterator[int]:
        """Yield step numbers to the end; learning rates rise over `warm` and fall as a cosine to `floor` of their peak."""
        saved = time.monotonic()
        while self.step < self.total:
            start = time.monotonic()
            part = self.step / self.total
            scale = min(1.0, (part + 1 / self.total) / warm) * ((1 - floor) * 0.5 * (1 + math.cos(math.pi * part)) + floor)
            for key, optimizer in self.optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = self._peaks[key] * scale
            yield self.step
            self.step += 1
            self.seconds += time.monotonic() - start
            if time.monotonic() - saved > SAVE_SECONDS or self.step == self.total:
                self.save()
                saved = time.monotonic()

    def log(self, **values: float | torch.Tensor) -> None:
        """Add the values of a step; their means over some steps go to losses.jsonl and to the screen."""
        for key, value in values.items():
            self._sums.setdefault(key, []).append(float(value.detach() if isinstance(value, torch.Tensor) else value))
        if (self.step + 1) % self._every == 0 or self.step + 1 == self.total:
            row = {key: round(float(np.mean(found)), 4) for key, found in self._sums.items()}
            self._sums.clear()
            with (self.directory / "losses.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.step + 1, "seconds": round(self.seconds), **row}) + "\n")
            shown = "  ".join(f"{key} {value}" for key, value in row.items())
            print(f"{self.name} {self.step + 1}/{self.total}  {self.seconds:.0f} s  {shown}", flush=True)

    def save(self) -> None:
        """Write state.pt, whole or not at all."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "modules": {key: module.state_dict() for key, module in self.modules.items()},
            "optimizers": {key: optimizer.state_dict() for key, optimizer in self.optimizers.items()},
        }
        partial = self.state_path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.state_path)


def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float = 1.0) -> None:
    """Take one step down `loss`, the gradient's norm cut to `limit`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], limit)
    optimizer.step()


def trained(work: Path, name: str, module: str) -> dict[str, torch.Tensor]:
    """Return the saved weights of a module of a training. Raises FileNotFoundError if it has not been run."""
    state = torch.load(work / name / "state.pt", weights_only=True)
    weights: dict[str, torch.Tensor] = state["modules"][module]
    return weights
