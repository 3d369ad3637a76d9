"""Run the package of `my_model.py`: what an encoder heard is said word by word. Needs no PyTorch."""

import sys
from pathlib import Path

import numpy as np

from ovconvert.runtime.cache import open_step
from ovconvert.runtime.decode import Sampling, generate
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.token_step import TokenStep

START, END = 1, 0


def say(package, features, words=20):
    """Return the ids of the likeliest words for `features` (1, frames, bands) float32."""
    engine = Engine(package)
    states = engine.run("encoder", features=features)["states"]
    step = TokenStep(open_step(engine, "decoder"), {"states": states}, rows=1)
    chosen = Sampling(do_sample=False, num_beams=1, repetition_penalty=1.0, max_new_tokens=words)
    rng = np.random.default_rng(0)
    drawn = generate(
        step, np.array([[START]]), lambda codes, place: codes, chosen, eos_token_id=END, history=[START], rng=rng
    )
    return drawn.codes.tolist()


if __name__ == "__main__":
    print(say(Path(sys.argv[1]), np.random.default_rng(1).standard_normal((1, 30, 20), dtype=np.float32)))
