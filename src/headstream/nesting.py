"""How deep stored values are nested: told without recursion, for who must know whether a stack was too small or the data too deep.

Rules:

* A decoder that recurses raises ``RecursionError`` for two reasons: its caller stands deep in its own stack, or the bytes are
  nested deeper than any writer makes them. Only the second is damage.
* The functions take bytes or text that may be anything: they never fail, and those that look for depth stop at the first level too deep.
"""

from __future__ import annotations

import re
from typing import Final

from headstream import limits

_STRINGS_AND_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)

_FIXED: Final = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC3), 1),
    0xCA: 5,
    0xCB: 9,
    0xCC: 2,
    0xCD: 3,
    0xCE: 5,
    0xCF: 9,
    0xD0: 2,
    0xD1: 3,
    0xD2: 5,
    0xD3: 9,
    0xD4: 3,
    0xD5: 4,
    0xD6: 6,
    0xD7: 10,
    0xD8: 18,
}
"""First bytes of MessagePack values of one size: the size."""
_COUNTED: Final = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)} | {
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}
"""Those of values that say their length: by how many bytes, and what follows the length besides."""
_LISTS: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Those of arrays and maps: how many bytes their length has, and how many values each of their entries."""


def is_deep_json(text: str, most: int = limits.MAX_NESTING) -> bool:
    """Whether a text of JSON has more than ``most`` lists and objects within each other."""
    depth = 0
    for found in _STRINGS_AND_BRACKETS.finditer(text):
        if (bracket := found[0]) in {"[", "{"}:
            depth += 1
            if depth > most:
                return True
        elif bracket in {"]", "}"}:
            depth -= 1
    return False


def has_long_number(text: str, digits: int) -> bool:
    """Whether a text of JSON has, outside its strings, more than so many ``digits`` in a row."""
    if not may_have_long_number(text, digits):
        return False
    run = re.compile(rf"[0-9]{{{digits + 1}}}")
    return run.search(text) is not None and run.search(_STRINGS.sub("", text)) is not None


def may_have_long_number(text: str | bytes, digits: int) -> bool:
    """Whether a text has more than so many ``digits`` in a row, told quickly: it may say so without there being any, but not the
    other way round. A longer run covers one whole block of half its size, wherever it begins.
    """
    block = (digits + 1) // 2
    return any(text[start : start + block].isdigit() for start in range(0, len(text), block))


def is_deep_messagepack(packed: bytes, most: int) -> bool:
    """Whether MessagePack has more than ``most`` arrays and maps within each other."""
    open_: list[int] = []
    """Of each array and map that has begun: how many values are still to come."""
    at = 0
    while at < len(packed):
        first = packed[at]
        values = None
        if 0x80 <= first < 0xA0:
            values, size = (first & 15) * (1 if first >= 0x90 else 2), 1
        elif first in _LISTS:
            width, each = _LISTS[first]
            values, size = int.from_bytes(packed[at + 1 : at + 1 + width], "big") * each, 1 + width
        elif first in _COUNTED:
            width, more = _COUNTED[first]
            size = 1 + width + more + int.from_bytes(packed[at + 1 : at + 1 + width], "big")
        else:
            size = _FIXED.get(first) or (1 + (first & 31) if 0xA0 <= first < 0xC0 else 1)
        at += size
        if open_:
            open_[-1] -= 1
        if values:
            open_.append(values)
            if len(open_) > most:
                return True
        while open_ and open_[-1] == 0:
            open_.pop()
    return False
