"""The language model: text, speaker and emotion to codes.

Beside the next code it is asked for three things that no inference reads. Linears of its state must predict the mel frame
and the pitch, so that the states ("latents") carry colour and melody to the flow; and one attention head must look at the
piece of text that is being spoken, which makes the reading order easy to find.

Half of the examples are two utterances of one speaker and style, cut between words and joined: sentences of few templates
would teach to foresee the text, this teaches to read it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_voice import pitch
from demo_voice.agreement import IGNORED
from demo_voice.batches import bucket, pad, present
from demo_voice.corpus import SPEAKERS
from demo_voice.data import Corpus, Frames, write_frames
from demo_voice.initialise import initialise
from demo_voice.references import CALM, References
from demo_voice.semantic import CENTRE, STEP, compute_codes, compute_features, mel_at_codes, pitch_at_codes
from demo_voice.sizes import CODES, DECODER, EMOTION_CONDITIONER, PREFIX, SPEAKER_CONDITIONER, SPEECH, START, STOP, WIDTH
from demo_voice.subwords import STOP as STOP_TEXT
from demo_voice.subwords import open_pieces
from demo_voice.training import Training, trained, update
from ovconvert.networks.conditioning import EmotionConditioner, SpeakerConditioner
from ovconvert.networks.gpt2 import Gpt2Sequence
from ovconvert.networks.prefix import Prefix
from ovconvert.networks.speech_embeddings import SpeechEmbeddings

GUIDED_LAYER = 2
REFERENCE_FRAMES = (60, 260)  # of 20 ms
CORRUPTED = 0.05  # share of the codes that are replaced in the input: the model must stand its own errors
OWN_EMOTION = 0.6  # share of examples whose emotion comes from another recording of the same speaker
JOINED = 0.5  # share of examples that are parts of two utterances
ENDED = 0.7  # share of texts that end with a full stop


class LanguageModel(nn.Module):
    """The networks that share gpt.pth, and the head for the mel."""

    def __init__(self) -> None:
        super().__init__()
        self.speaker = SpeakerConditioner(SPEAKER_CONDITIONER)
        self.emotion = EmotionConditioner(EMOTION_CONDITIONER)
        self.prefix = Prefix(PREFIX)
        self.speech = SpeechEmbeddings(SPEECH)
        self.decoder = Gpt2Sequence(DECODER)
        self.mel = nn.Linear(WIDTH, 80)
        self.pitch = nn.Linear(WIDTH, 1)

    def embed(
        self, conditioning: Tensor, emotion: Tensor, text: Tensor, codes: Tensor, positions: Tensor
    ) -> tuple[Tensor, int]:
        """Return what the decoder reads (B, 34 + L + S, D) and where the codes begin.

        conditioning (B, 32, D), emotion (B, D), text (B, L) with its start and stop, codes and positions (B, S).
        """
        speed = self.prefix.speed_emb.weight[:2].flip(0)[None].expand(len(text), -1, -1)
        words = self.prefix.text_embedding(text) + self.prefix.text_pos_embedding(torch.arange(text.shape[1]))
        rows = (conditioning + emotion[:, None], speed, words, self.speech(codes, positions))
        return torch.cat(rows, 1), 34 + text.shape[1]


@dataclass(frozen=True)
class Example:
    """What is said, when (word, start, end in seconds), and for each code (frames,) the mel (frames, 80) and the pitch."""

    text: str
    words: tuple[tuple[str, float, float], ...]
    codes: np.ndarray
    mel: np.ndarray
    pitch: np.ndarray


def joined(first: Example, before: int, second: Example, after: int) -> Example:
    """Return the first `before` words of an example and, from word `after` on, those of another."""
    end, start = (max(0, round((row.words[word][1] - CENTRE) / STEP)) for row, word in ((first, before), (second, after)))
    later = STEP * (end - start)
    tail = tuple((word, begins + later, ends + later) for word, begins, ends in second.words[after:])
    words = (*first.words[:before], *tail)

    def both(name: str) -> np.ndarray:
        return np.concatenate([getattr(first, name)[:end], getattr(second, name)[start:]])

    return Example(" ".join(word for word, _, _ in words), words, both("codes"), both("mel"), both("pitch"))


class Texts:
    """Ids of texts, and which of them is spoken when."""

    def __init__(self, work: Path) -> None:
        self._pieces = open_pieces(work)

    def ids(self, text: str, *, ended: bool) -> list[int]:
        """Return the ids with start and stop of text around them."""
        return [0, *self._pieces.encode(text.upper() + ("." if ended else "")), STOP_TEXT]

    def spoken(self, row: Example, ids: list[int]) -> np.ndarray:
        """Return (codes + 1,): the position in `ids` that each code speaks; the last one speaks the stop."""
        places, word, frames = [], 0, len(row.codes)
        for place, piece in enumerate(ids[1:-1], 1):
            if self._pieces.id_to_piece(piece).startswith("▁"):
                places.append(place)
        times = CENTRE + STEP * np.arange(frames)
        out = np.empty(frames + 1, np.int64)
        for index, time in enumerate(times):
            while word + 1 < len(row.words) and time >= row.words[word + 1][1]:
                word += 1
            out[index] = places[word]
        # what follows the last word is the end of the text
        out[:frames][times >= row.words[-1][2]] = len(ids) - 1
        out[frames] = len(ids) - 1
        return out


class Examples:
    """Batches of the language model."""

    def __init__(self, work: Path) -> None:
        self.corpus = Corpus(work)
        self.features = compute_features(work)
        self.codes = compute_codes(work)
        self.texts = Texts(work)
        self.references = References(self.corpus)
        self.lengths = np.array([len(row) for row in self.codes])
        self._mel, self._pitch = self.corpus.front_end("mel"), self.corpus.front_end("pitch")

    def example(self, number: int) -> Example:
        """Return an utterance as it is."""
        row, frames = self.corpus.utterances[number], int(self.lengths[number])
        mel, contour = mel_at_codes(self._mel[number], frames), pitch_at_codes(self._pitch[number], frames)
        return Example(row.text, row.words, self.codes[number], mel, contour)

    def mixed(self, number: int, rng: np.random.Generator) -> Example:
        """Return an utterance, or the beginning of it and the end of another in the same voice and style."""
        own = self.example(number)
        speaker, style = int(self.corpus.speakers[number]), int(self.corpus.styles[number])
        other = self.example(self.references.numbers(speaker, style, self.lengths, 1, rng)[0])
        if rng.random() >= JOINED or "." in own.text + other.text or min(len(own.words), len(other.words)) < 3:
            return own
        before, after = (int(rng.integers(1, len(row.words))) for row in (own, other))
        return joined(own, before, other, after)

    def reference(self, speaker: int, style: int, frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return features (frames, width) of a speaker's speech."""
        return self.references.draw(speaker, style, self.features, frames, rng)

    def conditions(self, chosen: list[int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return the features of a speaker's and of an emotion's recording for each utterance, (B, T, width) both."""
        frames = int(rng.integers(*REFERENCE_FRAMES))
        voices, emotions = [], []
        for number in chosen:
            speaker, style = int(self.corpus.speakers[number]), int(self.corpus.styles[number])
            other = CALM if rng.random() < 0.5 else int(rng.integers(0, 8))
            voices.append(self.reference(speaker, other, frames, rng))
            heard = speaker if rng.random() < OWN_EMOTION else int(rng.integers(0, len(SPEAKERS)))
            emotions.append(self.reference(heard, style, frames, rng))
        return pad(voices), pad(emotions)


def hidden(
    model: LanguageModel, examples: Examples, chosen: list[int], rng: np.random.Generator, *, training: bool
) -> dict[str, Tensor]:
    """Run the model over utterances: logits and state at each code's place, targets, and the guided head's scores."""
    voices, emotions = examples.conditions(chosen, rng)
    rows = [examples.mixed(n, rng) if training else examples.example(n) for n in chosen]
    ids = [examples.texts.ids(row.text, ended=rng.random() < ENDED) for row in rows]
    text = pad([np.array(row) for row in ids], -1)
    given = pad([np.concatenate([[START], row.codes]) for row in rows], STOP)
    wanted = pad([np.concatenate([row.codes, [STOP]]) for row in rows], -1)
    if training:
        wrong = torch.from_numpy(rng.random(tuple(given.shape)) < CORRUPTED)
        wrong[:, 0] = False
        given = torch.where(wrong, torch.from_numpy(rng.integers(0, CODES, tuple(given.shape))), given)
    # the decoding loop skips position 1, the second pass does not: both must read well
    positions = torch.arange(given.shape[1])
    if training and rng.random() < 0.5:
        positions = torch.where(positions > 0, positions + 1, positions)
    embeds, start = model.embed(
        model.speaker(voices), model.emotion(emotions), text.clamp(min=0), given, positions.expand_as(given)
    )
    seen = torch.cat([torch.ones(len(chosen), 34), (text >= 0).float(), torch.ones(tuple(given.shape))], 1).long()
    caught: list[Tensor] = []
    hook = model.decoder.gpt.h[GUIDED_LAYER].ln_1.register_forward_hook(lambda *a: caught.append(a[2]))
    logits, state = model.decoder(embeds, seen)
    hook.remove()
    attention = model.decoder.gpt.h[GUIDED_LAYER].attn
    size = DECODER.head_dim
    weight, bias = attention.c_attn.weight, attention.c_attn.bias
    query = caught[0][:, start:] @ weight[:, :size] + bias[:size]
    key = caught[0][:, 34:start] @ weight[:, WIDTH : WIDTH + size] + bias[WIDTH : WIDTH + size]
    scores = (query @ key.transpose(1, 2) / math.sqrt(size)).masked_fill((text < 0)[:, None], -1e4)
    return {
        "logits": logits[:, start:],
        "state": state[:, start:],
        "wanted": wanted,
        "scores": scores,
        "spoken": pad([examples.texts.spoken(row, k) for row, k in zip(rows, ids, strict=True)], -1),
        "mel": pad([row.mel for row in rows]),
        "pitch": pad([row.pitch for row in rows], math.nan),
        "present": present([len(row.codes) for row in rows], wanted.shape[1] - 1),
    }


@torch.no_grad()
def inputs(model: LanguageModel, examples: Examples, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return what the decoder reads for one utterance (1, S, D), and the code after each position (1, S).

    It is IGNORED where there is none.

    Speaker and emotion come from other recordings, as in training.
    """
    voices, emotions = examples.conditions([number], rng)
    text = torch.tensor([examples.texts.ids(examples.corpus.utterances[number].text, ended=True)])
    codes = examples.codes[number]
    given = torch.from_numpy(np.concatenate([[START], codes]))[None]
    positions = torch.arange(given.shape[1])[None]
    embeds, start = model.embed(model.speaker(voices), model.emotion(emotions), text, given, positions)
    wanted = np.concatenate([np.full(start, IGNORED), codes, [STOP]])
    return embeds, torch.from_numpy(wanted)[None]


def train(work: Path, steps: int, seed: int = 0, size: int = 16) -> None:
    """Train the language model on the finished codes."""
    examples = Examples(work)
    torch.manual_seed(seed)
    model = LanguageModel()
    initialise(model, 0.04)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=0.02)
    run = Training(work, "language_model", steps, {"model": model}, {"adamw": optimizer}, seed)
    for step in run.steps():
        rng = run.rng()
        chosen = bucket(examples.corpus.training, examples.lengths, size, rng)
        found = hidden(model, examples, chosen, rng, training=True)
        code = F.cross_entropy(found["logits"].flatten(0, 1), found["wanted"].flatten(), ignore_index=-1)
        guided = F.cross_entropy(found["scores"].flatten(0, 1), found["spoken"].flatten(), ignore_index=-1)
        states = found["state"][:, :-1]
        mel = (model.mel(states) - found["mel"])[found["present"]].abs().mean()
        tone = pitch.error(model.pitch(states)[:, :, 0], found["pitch"])
        update(optimizer, code + 0.5 * (mel + tone) + (0.3 if step < 0.7 * steps else 0.1) * guided)
        right = (found["logits"].argmax(-1) == found["wanted"])[found["wanted"] >= 0].float().mean()
        run.log(code=code, accuracy=right, mel=mel, pitch=tone, guided=guided)


def load(work: Path) -> LanguageModel:
    """Return the trained model."""
    model = LanguageModel()
    model.load_state_dict(trained(work, "language_model", "model"))
    return model.eval()


@torch.no_grad()
def compute_latents(work: Path, utterances: int, seed: int = 0, size: int = 24) -> Frames:
    """Return the state that predicts each code, for the first `utterances`, and keep it on disk; the others have none.

    Speaker and emotion come from other recordings, as in training.
    """
    path = work / "language_model" / "latents.f16"
    if not path.with_suffix(".json").is_file():
        examples, model = Examples(work), load(work)
        count = len(examples.corpus.utterances)
        rows: list[np.ndarray] = [np.empty((0, WIDTH), np.float32)] * count
        order = np.argsort(examples.lengths[:utterances], kind="stable")
        rng = np.random.default_rng(seed)
        for start in range(0, len(order), size):
            chosen = [int(number) for number in order[start : start + size]]
            state = hidden(model, examples, chosen, rng, training=False)["state"].numpy()
            for number, row in zip(chosen, state, strict=True):
                rows[number] = row[: examples.lengths[number]]
        write_frames(path, rows)
    return Frames(path, WIDTH)
