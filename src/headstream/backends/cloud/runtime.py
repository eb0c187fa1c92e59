"""The threads of the client library, and what a fork does to them.

They are one set for all clients of a process, and begin with its first request. A child that is forked after that has none of them, and can have no
others: each request, also of a client that it makes itself, would wait for ever. So it is refused there. A child whose parent had only made clients
is not concerned, and neither is a process that is started by spawn, forkserver or exec.
"""

from __future__ import annotations

import os

from headstream.errors import InvalidInput


class _Runtime:
    started = False
    """Whether this process, or one that it was forked from, has made a request."""
    lost = False
    """Whether that was before the fork."""


def _after_fork() -> None:
    _Runtime.lost = _Runtime.started


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def check_fork() -> None:
    """Raises :class:`~headstream.errors.InvalidInput` in a process that can make no request."""
    if _Runtime.lost:
        raise InvalidInput(
            "this process was forked after its parent had made requests to cloud storage, and its client does not work after a fork: start workers "
            "by spawn or forkserver, or make no request before the fork and open the store in the worker"
        )


def begin_request() -> None:
    """The same, and from now on the children of this process can make none."""
    check_fork()
    _Runtime.started = True
