"""What seeded checkpoints in the transformers library's layout share: sentences for a tokenizer, spread weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SENTENCES = (
    "The kettle is on the stove, and the bread is still warm from the oven.",
    "When the rain had stopped, we walked along the river and looked for a place to have lunch.",
    "Please bring a warm coat, because the evenings by the sea are colder than you think.",
    "She counted the boxes twice: there were 12 in the morning and only 9 in the evening.",
    "Nobody knew who had left the window open, but the cat was gone and the lamp had fallen over.",
    "He wrote three letters, tore up two of them, and never sent the third.",
    "Is this seat taken? No, sit down; the train leaves in a quarter of an hour.",
    "A good map tells you where the mountains are, a better one where the path is.",
    "They painted the boat blue, the door green, and the fence whatever was left in the tin.",
    "If the bridge is closed, take the ferry; if the ferry is full, wait for the next one.",
    "Yesterday's paper said that the market would open at seven, but it opened at half past eight.",
    "My grandmother kept bees, and every summer she gave us a jar of honey for each good mark at school.",
    "The orchestra played the last movement so fast that the flutes could hardly follow.",
    "Translate the following sentence, keep its tone, and do not add anything of your own.",
    "Under the old oak somebody had buried a box with coins, a key, and a photograph of a house.",
    "What the children liked best was the tower, from which one could see both lakes and the hills.",
)


def spread(model: Any, scale: Callable[[str], float]) -> None:
    """Multiply every matrix of `model` by `scale` of its name, in place.

    As drawn, random weights make logits that hardly depend on their inputs, so that one token would follow for ever.
    """
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale(name))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as indented JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
