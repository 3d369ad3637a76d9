"""The recipes' own modules are not installed: they are found beside their README."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "demo-voice"))
