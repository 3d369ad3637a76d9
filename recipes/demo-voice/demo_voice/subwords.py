"""The SentencePiece model of the demo voice: every word of the domain is one piece; other words fall apart into letters."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from string import ascii_uppercase

import sentencepiece

from demo_voice import texts
from demo_voice.sizes import PIECES

SENTENCES = 20000
MARKS = ".,?!'-"
STOP = 1  # the id of `</s>`, which ends a text; `<s>` is 0


def open_pieces(work: Path) -> sentencepiece.SentencePieceProcessor:
    """Return the model in WORK/bpe.model, which is made from the training sentences if it is not there.

    Raises ValueError if a word of the domain is more than one piece.
    """
    path = work / "bpe.model"
    if not path.is_file():
        made = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(text.upper() + "." for text in islice(texts.sentences(0, testing=False), SENTENCES)),
            model_writer=made,
            vocab_size=PIECES,
            model_type="bpe",
            bos_id=0,
            eos_id=STOP,
            unk_id=2,
            pad_id=-1,
            character_coverage=1.0,
            num_threads=1,
            minloglevel=2,
            user_defined_symbols=list(MARKS),
            required_chars=ascii_uppercase,
        )
        path.write_bytes(made.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    split = [word for word in texts.words() if len(pieces.encode(word.upper())) != 1]
    if split:
        raise ValueError(f"{len(split)} words are more than one piece: {', '.join(split[:8])}")
    return pieces
