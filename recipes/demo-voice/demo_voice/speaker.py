"""The speaker vector: CAM++ trained to tell four speakers apart, by cosine and with a margin, and their styles beside.

The style head keeps enough of the style in the vector for the mel estimator to hear it. That spreads the vectors of one
speaker, so after the training the last layer is turned and scaled to weigh less what varies within a speaker (within-class
covariance normalisation): cosine then compares speakers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_voice.batches import bucket, crop
from demo_voice.corpus import SPEAKERS, STYLES
from demo_voice.data import Corpus, Frames
from demo_voice.training import Training, update
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
BATCH = 32
SHORTEST, LONGEST = 120, 250  # frames of a crop, 100 per second
RATE = 3e-3
SHARPNESS, MARGIN = 16.0, 0.2  # of the softmax over cosines; radians that the right angle must be ahead
STYLE_WEIGHT = 0.3
COMPACTED = 400  # utterances whose spread within a speaker is measured
SHRINKAGE = 1.0  # how much of a round spread is added to the measured one


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
    """Train for `steps` steps into WORK/speaker, going on from what is there; then compact the vectors of each speaker."""
    corpus = Corpus(work)
    fbank = corpus.front_end("fbank")
    lengths = np.diff(fbank.ends)
    torch.manual_seed(seed)
    network, heads = CamPlus(CONFIG), Heads()
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=1e-3)
    training = Training(work, "speaker", steps, {"network": network, "heads": heads}, {"all": optimizer}, seed)
    network.train()
    for _ in training.steps():
        rng = training.rng()
        numbers = bucket(corpus.training, lengths, BATCH, rng)
        vectors = network(crops(fbank, numbers, rng))
        speaker = margin_loss(heads.cosines(vectors), torch.from_numpy(corpus.speakers[numbers]))
        style = F.cross_entropy(heads.style(vectors), torch.from_numpy(corpus.styles[numbers]))
        update(optimizer, speaker + STYLE_WEIGHT * style)
        training.log(speaker=speaker.detach(), style=style.detach())
    network.eval()
    numbers = corpus.training[:COMPACTED]
    compact(network, vectors_of(network, fbank, numbers), corpus.speakers[numbers])
    torch.save(network.state_dict(), training.directory / "weights.pt")


def crops(fbank: Frames, numbers: list[int], rng: np.random.Generator) -> Tensor:
    """Return (B, T, 80) pieces of the utterances `numbers`, all of one random length, each less its mean over time."""
    shortest = min(fbank.length(number) for number in numbers)
    length = min(shortest, int(rng.integers(SHORTEST, LONGEST + 1)))
    rows = torch.from_numpy(np.stack([crop(fbank[number], length, rng) for number in numbers]))
    return rows - rows.mean(1, keepdim=True)


def margin_loss(cosines: Tensor, speakers: Tensor) -> Tensor:
    """Return the cross entropy over `cosines` (B, speakers) after the right angles have been widened by MARGIN."""
    angle = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    right = F.one_hot(speakers, cosines.shape[1])
    return F.cross_entropy(SHARPNESS * (angle + MARGIN * right).cos(), speakers)


@torch.no_grad()
def vectors_of(network: CamPlus, fbank: Frames, numbers: Sequence[int]) -> Tensor:
    """Return the vectors (count, embedding) of whole utterances."""
    return torch.cat([network(torch.from_numpy(fbank[number])[None]) for number in numbers])


@torch.no_grad()
def compact(network: CamPlus, vectors: Tensor, speakers: np.ndarray) -> None:
    """Fold into the last layer of `network` the map that makes `vectors` (count, embedding) of one speaker spread evenly.

    The layer ends in a normalisation without gain, so the map goes into the linear part with the normalisation's own scale,
    and what is left to normalise is a mean.
    """
    residue = vectors.double()
    for who in np.unique(speakers):
        mine = torch.from_numpy(speakers == who)
        residue[mine] -= residue[mine].mean(0)
    spread = residue.T @ residue / len(residue)
    even = spread.diagonal().mean() * torch.eye(len(spread), dtype=torch.float64)
    values, axes = torch.linalg.eigh(spread + SHRINKAGE * even)
    turned = axes * values.rsqrt() @ axes.T
    centred = vectors.double() - vectors.double().mean(0)
    turned *= (centred.square().mean() / (centred @ turned).square().mean()).sqrt()  # as large as before
    linear, norm = network.xvector["dense"].linear, network.xvector["dense"].nonlinear.batchnorm
    turned = turned / (norm.running_var.double() + norm.eps).sqrt()
    linear.weight.copy_((turned @ linear.weight[:, :, 0].double())[:, :, None])
    norm.running_mean.copy_(turned @ norm.running_mean.double())
    norm.running_var.fill_(1 - norm.eps)


def weights(work: Path) -> dict[str, Tensor]:
    """Return the finished weights by the network's keys. Raises FileNotFoundError if it has not been trained."""
    found: dict[str, Tensor] = torch.load(work / "speaker" / "weights.pt", weights_only=True)
    return found


def evaluate(work: Path) -> dict[str, float]:
    """Return what the vectors of whole test utterances are worth.

    `ordered`: share of triples, an utterance, another of its speaker and one of another speaker, in which the cosine with
    the former is the higher; `nearest`: share whose nearest neighbour is of the same speaker; `same` and `different`: mean
    cosines.
    """
    corpus = Corpus(work)
    network = CamPlus(CONFIG).eval()
    network.load_state_dict(weights(work))
    vectors = vectors_of(network, corpus.front_end("fbank"), corpus.testing)
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
        "same": float(cosine[same & ~itself].mean()),
        "different": float(cosine[~same].mean()),
    }
