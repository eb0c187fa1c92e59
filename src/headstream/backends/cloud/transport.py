"""Why no answer came: what the text of the client library tells of a connection that failed.

The library has one exception for all of it, so the phase and the cause are read from its text, which holds URLs and maybe their signatures. Nothing
of it leaves but what is matched here: a host, a port, a name of the system or of the TLS library. What is not recognized only makes a reason less
telling; whether the request was sent is not guessed: it was, unless the text says that the connection was being made.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Final, NamedTuple


class Breakdown(NamedTuple):
    """How a request ended without an answer."""

    reason: str
    code: str | None
    sent: bool
    """Whether the request may have reached the service."""


# The client's own words for "while connecting": its kind of error, or the phase inside of a time-out. A key has no
# blank and no comma, so neither can be part of a URL.
_CONNECTING: Final = re.compile(r"kind: Connect,|legacy::Error\(\s*Connect,")
_HOST: Final = re.compile(r"uri: Some\(\s*(https?)://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?[/?,]")
_ADDRESS: Final = re.compile(r'ConnectError\(\s*"tcp connect error",\s*([0-9.]+|\[[0-9a-fA-F:.]+\]):(\d{1,5}),')
_SYSTEM: Final = re.compile(r"Os \{\s*code: (\d{1,5}),")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)(?:\(\s*OtherError\(\s*(\w+))?")
_PROXY: Final = re.compile(r"ConnectFailed\(|TunnelUnsuccessful|ProxyAuthRequired")
_TUNNEL: Final = re.compile(r"TunnelUnsuccessful|ProxyAuthRequired")

_PHASES: Final = (
    (re.compile(r'"dns error"'), "dns", "its name cannot be resolved: check the endpoint and the DNS"),
    (re.compile(r"InvalidMessage\(|AlertReceived\(|PeerIncompatible|UnexpectedEof"), "tls", "it does not speak TLS as this client does"),
    (re.compile(r"TimedOut|kind: Timeout"), "timeout", "it did not answer in time"),
)  # fmt: skip
_CLOSED: Final = re.compile(
    r"kind: Interrupted|IncompleteMessage|ConnectionReset|BrokenPipe|UnexpectedEof|ConnectionAborted"
)
_LATE: Final = re.compile(r"kind: Timeout|TimedOut")


def breakdown(text: str) -> Breakdown:
    """What the text of a failure without an answer tells."""
    if not _CONNECTING.search(text):
        if _LATE.search(text):
            return Breakdown(f"no answer of {_host(text)} in time", "timeout", sent=True)
        if _CLOSED.search(text):
            return Breakdown(f"the connection to {_host(text)} was closed before an answer came", "closed", sent=True)
        return Breakdown("no usable answer of the storage", None, sent=True)
    code, why = _why(text)
    return Breakdown(f"no connection to {_target(text)}: {why}", code, sent=False)


def _why(text: str) -> tuple[str | None, str]:
    if certificate := _CERTIFICATE.search(text):
        kind = certificate[2] or certificate[1]
        return (
            "certificate",
            f"its certificate is not trusted ({kind}): add your authority by client_options={{'root_certificate': …}}",
        )
    if _TUNNEL.search(text):
        return "proxy", "the proxy does not let the connection pass"
    if system := _SYSTEM.search(text):
        number = int(system[1])
        advice = ": check the address and the port" if number == errno.ECONNREFUSED else ""
        return errno.errorcode.get(number, str(number)), os.strerror(number) + advice
    for pattern, code, why in _PHASES:
        if pattern.search(text):
            return code, why
    return None, "it could not be made"


def _target(text: str) -> str:
    """Where the connection was to go: the host of the endpoint, or a proxy before it."""
    host, port, address = _host(text), _port(text), _ADDRESS.search(text)
    if address and port is None:  # the library hides URLs that are signed: either may be meant
        return f"{address[1]}:{address[2]}"
    if address and address[2] != port:
        return f"the proxy {address[1]}:{address[2]}, on the way to {host}"
    return f"{host} by its proxy" if _PROXY.search(text) else host


def _host(text: str) -> str:
    found = _HOST.search(text)
    return "the storage" if found is None else found[2] + (f":{found[3]}" if found[3] else "")


def _port(text: str) -> str | None:
    found = _HOST.search(text)
    return None if found is None else found[3] or {"http": "80", "https": "443"}[found[1]]
