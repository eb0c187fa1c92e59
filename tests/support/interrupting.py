"""Interrupts at chosen places of running code: what an exception out of a signal handler does, without the chance.

CPython delivers a signal at certain bytecodes only, and a test that raises at others would demand what no code can give:
between the C code that enters a ``with`` block and the block's first instruction, for example, it never does. The rule is in
:func:`_delivers`.
"""

from __future__ import annotations

import dis
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import headstream

HERE: Final = str(Path(__file__).parents[1])
"""Code of the tests is not interrupted."""
OURS: Final = str(Path(headstream.__file__).parent)


class Interrupt(BaseException):
    """As ``KeyboardInterrupt``: no ``except Exception`` catches it."""


def _delivers(name: str) -> bool:
    """Whether a pending signal may be delivered when this instruction has been carried out.

    In CPython 3.11 the interpreter looks for one after each call, after each jump backward, and where a function or a
    generator begins to run. 3.12 and 3.13 look at the same places, and have more names for the jumps and the calls. The
    calls of ``__enter__`` by ``BEFORE_WITH``, and of ``__exit__`` after an exception by ``WITH_EXCEPT_START``, are none of
    them; that of ``__exit__`` without an exception is an ordinary call.
    """
    if name.endswith("NO_INTERRUPT"):
        return False
    return name.startswith(("CALL", "RESUME", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")) and name != "CALL_INTRINSIC_1"


@cache
def _places(code: CodeType) -> dict[int, bool]:
    """Of each instruction, by its offset, whether it delivers."""
    return {instruction.offset: _delivers(instruction.opname) for instruction in dis.get_instructions(code)}


@cache
def _handlers(code: CodeType) -> list[tuple[int, int, int]]:
    return [(entry.start, entry.end, entry.target) for entry in dis._parse_exception_table(code)]  # type: ignore[attr-defined]


def _handler(code: CodeType, offset: int) -> int | None:
    """Where an exception at this instruction is handled, within its function."""
    entries = _handlers(code)
    place = bisect_right(entries, (offset, sys.maxsize, 0)) - 1
    return entries[place][2] if place >= 0 and offset < entries[place][1] else None


def _is_ours(frame: FrameType) -> bool:
    """Whether this is code of headstream, or of the standard library that it calls."""
    if frame.f_code.co_filename.startswith(HERE):
        return False
    return OURS in frame.f_code.co_filename or (frame.f_back is not None and frame.f_back.f_trace is not None)


class _Interrupter:
    """Raises when so many places were passed; then again, when so many more were, and so on."""

    def __init__(self, places: Sequence[int]) -> None:
        self.rest = list(places)
        self.passed = 0
        self._last: dict[FrameType, int] = {}

    def trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """What ``sys.settrace`` calls."""
        code = frame.f_code
        if event == "call":
            if code.co_name in {"remove", "_remove", "__del__", "gc_callback"} or not _is_ours(frame):
                return None  # what weak references, finalizers and the collector's callbacks raise has no caller
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
            self._last.pop(frame, None)  # a generator that goes on
            return self.trace
        if event == "opcode":
            last = self._last.get(frame)
            self._last[frame] = frame.f_lasti
            # The exception is raised before the next instruction: only where it is handled as one after the last is.
            if last is not None and _places(code)[last] and _handler(code, last) == _handler(code, frame.f_lasti):
                self._pass()
        elif event == "return":
            self._last.pop(frame, None)
        return self.trace

    def profile(self, frame: FrameType, _event: str, _argument: Any) -> None:
        """What ``sys.setprofile`` calls: an exception out of a trace function ends tracing, which has to go on."""
        if self.rest and sys.gettrace() is None and OURS in frame.f_code.co_filename:
            above: FrameType | None = frame
            while above is not None and not above.f_code.co_filename.startswith(HERE):
                above.f_trace, above.f_trace_lines, above.f_trace_opcodes = self.trace, False, True
                above = above.f_back
            sys.settrace(self.trace)

    def _pass(self) -> None:
        if self.rest:
            self.passed += 1
            if self.passed == self.rest[0]:
                del self.rest[0]
                self.passed = 0
                raise Interrupt


def interrupted(work: Callable[[], object], *places: int) -> bool:
    """Do ``work``, interrupted at the given place, counted from 1; whether it got there.

    Of several places each is counted from the one before, and the last one may be past the end.
    """
    interrupter = _Interrupter(places)
    before = sys.gettrace(), sys.getprofile()
    if len(places) > 1:
        sys.setprofile(interrupter.profile)
    sys.settrace(interrupter.trace)
    try:
        work()
    except Interrupt:
        pass
    finally:
        sys.setprofile(before[1])
        sys.settrace(before[0])
    return len(interrupter.rest) < len(places)


def every_place(
    step: int = 1, first: int = 1, most: int = 100_000
) -> Iterator[tuple[int, Callable[[Callable[[], object]], bool]]]:
    """For a loop over the places of some work: its number, and what does the work with an interrupt there. Ends with it.

    The body of the loop has to do the work once; ``step`` leaves out places.
    """
    for place in range(first, most, step):
        ended: list[bool] = []

        def work(operation: Callable[[], object], place: int = place, ended: list[bool] = ended) -> bool:
            got_there = interrupted(operation, place)
            ended.append(not got_there)
            return got_there

        yield place, work
        if ended[0]:
            return
    raise AssertionError("the work has no end")
