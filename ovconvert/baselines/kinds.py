"""What other engines can be asked to go on from: a prompt of ids, a sound, or a source of ids that an encoder reads."""

from __future__ import annotations

LANGUAGE_MODEL = "language model"
LISTENER = "listener"
WRITER = "writer"
