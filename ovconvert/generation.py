"""`generation_config.json`: how a checkpoint wants to be spoken with, where the caller says nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ovconvert import fields
from ovconvert.runtime.request import DECIDED, Request, out_of_range

FILE = "generation_config.json"
KNOWN = {field.name: field for field in fields.read(Request) if field.name in DECIDED}
# Hugging Face writes these into every such file; the tokens of speech are told by other settings
IGNORED = ("_from_model_config", "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version")


def read_generation(content: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the settings that the file's `content` holds, typed as those of a request.

    Adds to `problems` every unknown key, every value of a wrong type and every value out of range.
    """
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key in IGNORED:
            continue
        if key not in KNOWN:
            near = difflib.get_close_matches(key, KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"have: {', '.join(KNOWN)}"
            problems.append(f"{FILE}: unknown key {key!r}; {hint}")
            continue
        try:
            found[key] = KNOWN[key].convert(value)
        except (ValueError, OverflowError) as error:
            problems.append(f"{FILE}: {key} = {error}")
    problems += [f"{FILE}: {problem}" for problem in out_of_range(found)]
    return found
