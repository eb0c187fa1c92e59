"""Trees of lists and maps, as MessagePack and JSON hold them, of which one value is replaced by another."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeAlias

Place: TypeAlias = tuple[Any, ...]
"""The path of a value: indices of lists and keys of maps."""


def places(tree: Any, path: Place = ()) -> Iterator[Place]:
    """The places of all values, the tree itself first."""
    yield path
    if isinstance(tree, (list, dict)):
        for step in range(len(tree)) if isinstance(tree, list) else tree:
            yield from places(tree[step], (*path, step))


def at(tree: Any, place: Place) -> Any:
    """The value in a place."""
    for step in place:
        tree = tree[step]
    return tree


def with_value(tree: Any, place: Place, value: Any) -> Any:
    """The tree with another value in a place."""
    if not place:
        return value
    changed = copy.deepcopy(tree)
    at(changed, place[:-1])[place[-1]] = value
    return changed
