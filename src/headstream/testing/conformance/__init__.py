"""The conformance suite: every promise of :mod:`headstream.backends.base`, as tests that any backend can run.

A backend subclasses :class:`BackendConformance` in its own tests and says how to make a fresh one::

    import pytest
    from headstream.testing.conformance import BackendConformance

    class TestMyBackend(BackendConformance):
        racers = 8                                  # the service throttles more than this

        @pytest.fixture
        def backend(self, tmp_path):
            with closing(MyBackend(tmp_path)) as backend:
                yield backend

        @pytest.fixture
        def another(self, backend, tmp_path):       # a second client of the same storage
            with closing(MyBackend(tmp_path)) as another:
                yield another

An async backend subclasses :class:`AsyncBackendConformance` and overrides ``aio`` instead: the same suite runs through
:class:`~headstream.testing.Blocking`, and a few checks of tasks and cancellation besides.

The suite needs pytest (``pip install headstream[testing]``) and nothing else.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{module}" for module in ("keys", "lists", "objects", "races", "suite", "support"))
)

from headstream.testing.conformance.suite import AsyncBackendConformance, BackendConformance  # noqa: E402 - see above

__all__ = ["AsyncBackendConformance", "BackendConformance"]
