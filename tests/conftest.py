"""How long a test may take: a slow one on a slow machine takes minutes, and still has an end."""

from __future__ import annotations

import pytest

SECONDS = 1500.0  # for a slow test; pyproject.toml has the limit of all others


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests their own limit, unless they name one."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS))
