"""``place``: a fresh place for a store; a test names the kinds by ``@pytest.mark.parametrize("place", SHARED, indirect=True)``."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.places import Place, find


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """One place of the kind that the test asks for."""
    return find(request.param, request, tmp_path, monkeypatch.setenv)
