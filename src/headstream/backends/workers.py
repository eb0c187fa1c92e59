"""Threads that make calls for others, and that nothing waits for when the process ends.

Rules, and what they are for:

* Threads are daemons: a request that hangs keeps no process from ending. ``concurrent.futures`` joins its threads at exit,
  and takes no work from then on, so appends of ``atexit`` handlers and of late threads would fail.
* Where no thread can be started, as at the end of a process, a call is made in the thread that asks for it.
* What is shared is held by ``with`` of a plain lock, and changed such that an exception out of a signal handler between two
  steps does no harm: a call is handed to a thread before that thread leaves the list of those that wait for one.
* A caller waits in C code that a signal handler's exception ends. What it waited for goes on, and has no other effect than
  a request whose answer was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, ParamSpec, TypeVar
from weakref import finalize

from headstream.backends import forks

P = ParamSpec("P")
R = TypeVar("R")

Call = Callable[[], object]
_Inbox = SimpleQueue[Call | None]

UNBOUNDED: Final = 1 << 30


def spawn(work: Call, name: str) -> Thread:
    """A daemon thread that was started. Raises ``RuntimeError`` if the system or the end of the process permits no more.

    ``Thread.start`` may turn an interrupt into an error about its own locks: the interrupt is what is raised.
    """
    thread = Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if error.__context__ is not None:
            raise error.__context__ from None
        raise
    return thread


class Workers:
    """At most ``most`` threads, started as they are needed. They end after :meth:`close`, or with ``owner``."""

    def __init__(self, owner: object, name: str, most: int = UNBOUNDED) -> None:
        self._name = name
        self._most = most
        self._start()
        forks.watch(self)
        finalize(owner, self.close).atexit = False

    def _start(self) -> None:
        self._lock = Lock()
        self._threads: list[Thread] = []
        self._idle: deque[_Inbox] = deque()
        self._waiting: deque[Call] = deque()
        self._closed = False

    def after_fork(self) -> None:
        """The threads are in the parent."""
        self._start()

    def start(self, call: Call) -> None:
        """Have ``call``, which must not raise, made by a thread: at once, or when one of ``most`` is free."""
        with self._lock:
            if self._idle:
                self._idle[-1].put(call)
                self._idle.pop()
                return
            if len(self._threads) >= self._most:
                self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= self._most:
                self._waiting.append(call)
                return
            if self._hire(call):
                return
        call()

    def call(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``work`` returns or raises, made by a thread and waited for."""
        return self.begin(partial(work, *args, **kwargs))()

    def begin(self, work: Callable[[], R]) -> Callable[[], R]:
        """Have ``work`` done by a thread; what is returned waits for its result, and is to be called once."""
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.start(partial(_answer, work, answers))
        return partial(_result, answers)

    def close(self) -> None:
        """Let the threads end, as soon as they have nothing to do. Idempotent; what is begun later still works."""
        with self._lock:
            self._closed = True
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()

    def _hire(self, call: Call) -> bool:
        """Start a thread with this call, if that is possible."""
        inbox: _Inbox = SimpleQueue()
        try:
            self._threads.append(spawn(partial(self._work, call, inbox), self._name))
        except RuntimeError:
            return False
        return True

    def _work(self, call: Call | None, inbox: _Inbox) -> None:
        while call is not None:
            call()
            call = None  # what it holds is not needed while this thread waits
            with self._lock:
                if self._waiting:
                    call = self._waiting.popleft()
                    continue
                if self._closed:
                    return
                if inbox not in self._idle:
                    self._idle.append(inbox)
            call = inbox.get()


def _answer(work: Callable[[], R], answers: SimpleQueue[tuple[Any, BaseException | None]]) -> None:
    try:
        answers.put((work(), None))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who asked
        answers.put((None, error))


def _result(answers: SimpleQueue[tuple[R, BaseException | None]]) -> R:
    result, error = answers.get()
    if error is not None:
        try:
            raise error
        finally:
            del error  # the error's traceback has this frame, which should not keep the error
    return result
