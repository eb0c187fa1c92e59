"""What an examination found: values, and the rule by which many verdicts become one."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class Verdict(enum.StrEnum):
    """What a check came to."""

    KEPT = "kept"
    """The promise held, as often as it was tried."""
    NOT_APPLICABLE = "n/a"
    """The backend does not make this promise, and need not."""
    WARNING = "warning"
    """Something to know. No event is lost by it."""
    UNDECIDED = "undecided"
    """The storage did not answer, or the time was over."""
    BROKEN = "broken"
    """A promise that events depend on is broken."""


class Seen(msgspec.Struct, frozen=True):
    """What one check saw, in one line for people and in figures for programs."""

    verdict: Verdict
    text: str
    figures: Mapping[str, float] = {}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a report."""

    check: str
    """The name of the check."""
    verdict: Verdict
    seen: str
    """What was seen: one line."""
    figures: Mapping[str, float] = {}
    """The same as numbers: counts, and times in seconds, by names that end in ``_seconds``."""
    essential: bool
    """Whether events depend on what was checked."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that an examination found."""

    place: str
    """The URL, or the ``repr`` of the backend."""
    findings: tuple[Finding, ...]
    requests: int
    """How many were made."""
    transferred: int
    """Bytes of bodies, sent and received."""
    seconds: float
    """How long it took."""

    @property
    def verdict(self) -> Verdict:
        """Broken if a promise is; else undecided if one that events depend on is; else a warning if there is one; else kept."""
        essential = {finding.verdict for finding in self.findings if finding.essential}
        if Verdict.BROKEN in essential:
            return Verdict.BROKEN
        if Verdict.UNDECIDED in essential or not essential:
            return Verdict.UNDECIDED
        return Verdict.WARNING if self.warnings else Verdict.KEPT

    @property
    def suitable(self) -> bool:
        """Whether every promise that events depend on was kept."""
        return self.verdict in {Verdict.KEPT, Verdict.WARNING}

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings for which the storage must not be used."""
        return self._with(Verdict.BROKEN)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What there is to know, and what was tried without a result."""
        return self._with(Verdict.WARNING) + self._with(Verdict.UNDECIDED)

    def _with(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict == verdict)


# --- for the checks ----------------------------------------------------------------------------------------------


def kept(text: str, **figures: float) -> Seen:
    """The promise held."""
    return Seen(Verdict.KEPT, text, figures)


def warned(text: str, **figures: float) -> Seen:
    """Something to know."""
    return Seen(Verdict.WARNING, text, figures)


def broken(text: str, **figures: float) -> Seen:
    """The promise is broken."""
    return Seen(Verdict.BROKEN, text, figures)


def not_applicable(text: str) -> Seen:
    """There is no such promise here."""
    return Seen(Verdict.NOT_APPLICABLE, text)
