"""Tokenizers and a reference recording for synthetic checkpoints, made from a small text and a seed."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np

SAMPLE_RATE = 22050
SAMPLE_SECONDS = 4.0
TEXT = Path(__file__).with_name("sample_text.txt")
PIECES = 300
# A chat template of the form that the classifier's tokenizer carries: turns between marks, an empty thought when
# thinking is off.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
CHAT_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")


def write(dest: Path, variant: str, seed: int, *, classifier_vocabulary: int) -> None:
    """Write the tokenizers and `voices/sample.wav` into the checkpoint directory `dest`."""
    if variant == "2.5":
        (dest / "multilingual_zh_ja_yue_char_del.tiktoken").write_text(_byte_ranks(), encoding="ascii")
    else:
        (dest / "bpe.model").write_bytes(_sentencepiece())
    _classifier_tokenizer(dest / "qwen0.6bemo4-merge", classifier_vocabulary)
    _sample_voice(dest / "voices" / "sample.wav", seed)


def _sentencepiece() -> bytes:
    """Return a SentencePiece model of the sample text, `<s>` 0, `</s>` 1, unknown 2 (spec section 2)."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.read_text(encoding="utf-8").splitlines()),
        model_writer=model,
        vocab_size=PIECES,
        model_type="bpe",
        bos_id=0,
        eos_id=1,
        unk_id=2,
        pad_id=-1,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _byte_ranks() -> str:
    """Return a rank file of the 256 bytes, printable ones first: a vocabulary without merges."""
    order = [*range(33, 127), *(byte for byte in range(256) if not 33 <= byte < 127)]
    return "".join(f"{base64.b64encode(bytes([byte])).decode()} {rank}\n" for rank, byte in enumerate(order))


def _classifier_tokenizer(dest: Path, vocabulary: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json of a small byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocabulary, 600),
        special_tokens=list(CHAT_MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.read_text(encoding="utf-8").splitlines(), trainer)
    tokenizer.save(str(dest / "tokenizer.json"))
    settings = {"chat_template": CHAT_TEMPLATE, "eos_token": "<|im_end|>"}
    (dest / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    stop = [tokenizer.token_to_id(mark) for mark in ("<|im_end|>", "<|endoftext|>")]
    generation = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": stop}
    (dest / "generation_config.json").write_text(json.dumps(generation, indent=1), encoding="utf-8")


def _sample_voice(path: Path, seed: int) -> None:
    """Write a few seconds of a pulse train through moving resonances: spectrally like speech, without words."""
    import soundfile

    rng = np.random.default_rng(seed)
    count = int(SAMPLE_RATE * SAMPLE_SECONDS)
    time = np.arange(count) / SAMPLE_RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6)) + 10 * np.sin(2 * np.pi * 2.3 * time)
    phase = np.cumsum(pitch) / SAMPLE_RATE
    source = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(count)
    spectrum = np.fft.rfftfreq(1024, 1 / SAMPLE_RATE)
    out = np.zeros(count + 1024)
    window = np.hanning(1024)
    for start in range(0, count - 1024, 256):
        formants = [centre * (1 + 0.25 * np.sin(2 * np.pi * rate * start / SAMPLE_RATE)) for centre, rate in FORMANTS]
        gain = sum(1 / (1 + ((spectrum - centre) / 90.0) ** 2) for centre in formants)
        out[start : start + 1024] += window * np.fft.irfft(np.fft.rfft(source[start : start + 1024] * window) * gain)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * time)
    voice = out[:count] * syllables
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * voice / np.abs(voice).max(), SAMPLE_RATE, subtype="PCM_16")


FORMANTS = ((550.0, 1.1), (1500.0, 0.8), (2500.0, 0.5), (3600.0, 0.3))
