"""The speaker vector: CAM++ trained to tell four speakers apart, by cosine and with a margin, and their styles beside.

The margin pulls the vectors of one speaker together whatever the style, so that cosine compares speakers; the style head
keeps enough of the style in the vector for the mel estimator to hear it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_voice.batches import crop
from demo_voice.corpus import SPEAKERS, STYLES
from demo_voice.data import Corpus, Frames
from demo_voice.training import Training, trained, update
from ovconvert.networks.campplus import CamPlus, CamPlusConfig

CONFIG = CamPlusConfig(
    channels=8,
    head_blocks=(2, 2),
    head_out=80,
    tdnn=32,
    tdnn_kernel=5,
    layers=(3, 4, 3),
    bottleneck=32,
    growth=8,
    kernel=3,
    context=16,
    dilations=(1, 2, 2),
    transits=(28, 30, 27),
    embedding=192,
)
BATCH = 24
SHORTEST, LONGEST = 120, 250  # frames of a crop, 100 per second
RATE = 3e-3
SHARPNESS, MARGIN = 10.0, 0.4  # of the softmax over cosines; radians that the right angle must be ahead
STYLE_WEIGHT = 0.3


class Heads(nn.Module):
    """What the vector is asked for in training: the speaker, by angle, and the style."""

    def __init__(self) -> None:
        super().__init__()
        self.speaker = nn.Parameter(torch.randn(len(SPEAKERS), CONFIG.embedding))
        self.style = nn.Linear(CONFIG.embedding, len(STYLES))

    def cosines(self, vectors: Tensor) -> Tensor:
        """Return the cosines (B, speakers) of `vectors` (B, embedding) with the speakers' directions."""
        return F.linear(F.normalize(vectors, dim=-1), F.normalize(self.speaker, dim=-1))


def train(work: Path, steps: int, seed: int = 0) -> None:
    """Train for `steps` steps into WORK/speaker, going on from what is there."""
    corpus = Corpus(work)
    fbank = corpus.front_end("fbank")
    torch.manual_seed(seed)
    network, heads = CamPlus(CONFIG), Heads()
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=1e-3)
    training = Training(work, "speaker", steps, {"network": network, "heads": heads}, {"all": optimizer}, seed)
    network.train()
    for _ in training.steps():
        rng = training.rng()
        numbers = rng.choice(corpus.training, BATCH)
        vectors = network(crops(fbank, numbers, rng))
        speaker = margin_loss(heads.cosines(vectors), torch.from_numpy(corpus.speakers[numbers]))
        style = F.cross_entropy(heads.style(vectors), torch.from_numpy(corpus.styles[numbers]))
        update(optimizer, speaker + STYLE_WEIGHT * style)
        training.log(speaker=speaker.detach(), style=style.detach())


def crops(fbank: Frames, numbers: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Return (B, T, 80) pieces of the utterances `numbers`, all of one random length, each less its mean over time.

    An utterance that is too short is heard again from its start: batches of like length would be of like style, and their
    statistics not those of the corpus, which normalisation uses later.
    """
    length = int(rng.integers(SHORTEST, LONGEST + 1))
    rows = (crop(fbank[int(number)], length, rng) for number in numbers)
    pieces = torch.from_numpy(np.stack([np.resize(row, (length, row.shape[1])) for row in rows]))
    return pieces - pieces.mean(1, keepdim=True)


def margin_loss(cosines: Tensor, speakers: Tensor) -> Tensor:
    """Return the cross entropy over `cosines` (B, speakers) after the right angles have been widened by MARGIN."""
    angle = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    right = F.one_hot(speakers, cosines.shape[1])
    return F.cross_entropy(SHARPNESS * (angle + MARGIN * right).cos(), speakers)


def weights(work: Path) -> dict[str, Tensor]:
    """Return the trained weights by the network's keys. Raises FileNotFoundError if it has not been trained."""
    return trained(work, "speaker", "network")


def evaluate(work: Path) -> dict[str, float]:
    """Return what the vectors of whole test utterances are worth.

    `ordered`: share of triples, an utterance, another of its speaker and one of another speaker, in which the cosine with
    the former is the higher; `nearest`: share whose nearest neighbour is of the same speaker; `style`: accuracy of the
    style head; `same` and `different`: mean cosines.
    """
    corpus = Corpus(work)
    fbank = corpus.front_end("fbank")
    network, heads = CamPlus(CONFIG).eval(), Heads()
    network.load_state_dict(weights(work))
    heads.load_state_dict(trained(work, "speaker", "heads"))
    with torch.no_grad():
        vectors = torch.cat([network(torch.from_numpy(fbank[number])[None]) for number in corpus.testing])
        styles = heads.style(vectors).argmax(-1).numpy()
    unit = F.normalize(vectors, dim=-1).numpy()
    cosine = unit @ unit.T
    speakers = corpus.speakers[corpus.testing]
    same = speakers[:, None] == speakers[None]
    itself = np.eye(len(speakers), dtype=bool)
    ordered = [
        (row[alike & ~me][:, None] > row[~alike][None]).mean() for row, alike, me in zip(cosine, same, itself, strict=True)
    ]
    nearest = np.where(itself, -2.0, cosine).argmax(1)
    return {
        "ordered": float(np.mean(ordered)),
        "nearest": float((speakers[nearest] == speakers).mean()),
        "style": float((styles == corpus.styles[corpus.testing]).mean()),
        "same": float(cosine[same & ~itself].mean()),
        "different": float(cosine[~same].mean()),
    }
