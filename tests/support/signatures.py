"""The public names of headstream as they are written in the reference."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headstream.model import _Decoded

WIDTH: Final = 100
"""Longer signatures have a parameter a line."""


def signature(name: str, function: Callable[..., Any]) -> str:
    """A call as its definition writes it, with names, annotations and defaults; ``await`` before one that must be awaited."""
    found = inspect.signature(function)
    name = f"await {name}" if inspect.iscoroutinefunction(function) else name
    annotations: Mapping[str, object] = getattr(function, "__annotations__", {})
    shown: list[str] = []
    keyword_only = False
    for parameter in found.parameters.values():
        if parameter.name == "self" or parameter.name.startswith("_"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            shown.append("*")
            keyword_only = True
        shown.append(_parameter(parameter, annotations))
    result = "" if isinstance(function, type) else f" -> {_text(found.return_annotation)}"
    line = f"{name}({', '.join(shown)}){result}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in shown) + f"){result}"


def _parameter(parameter: inspect.Parameter, annotations: Mapping[str, object]) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    text = f"{stars}{parameter.name}: {_text(annotations.get(parameter.name, parameter.annotation))}"
    if parameter.default is parameter.empty:
        return text
    default = f'"{parameter.default}"' if isinstance(parameter.default, str) else repr(parameter.default)
    return f"{text} = {default.replace('<factory>', '{}')}"


def _text(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a class, in the order of their definition."""
    return {
        name: member for name, member in vars(cls).items() if not name.startswith("_") and inspect.isfunction(member)
    }


def attributes(cls: type) -> set[str]:
    """The public fields and properties of a class, and what its constructor sets by the name of a parameter."""
    fields = {field.name for field in msgspec.structs.fields(cls)} if issubclass(cls, msgspec.Struct) else set()
    properties = {name for name, member in vars(cls).items() if isinstance(member, (property, _Decoded))}
    made = getattr(vars(cls).get("__init__"), "__code__", None)
    constructed = set(inspect.signature(cls).parameters).intersection(made.co_names if made is not None else ())
    if issubclass(cls, BaseException):
        constructed = set(inspect.signature(cls).parameters) - {"message", "details"}
    return {name for name in fields | properties | constructed if not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> set[str]:
    """The names of what a call takes."""
    return {name for name in inspect.signature(function).parameters if name != "self"}


def raised(function: Callable[..., Any]) -> set[str]:
    """The errors that the docstring names after the word Raises."""
    _, _, raises = (function.__doc__ or "").partition("Raises")
    return set(re.findall(r":class:`~?(?:headstream\.)?(\w+)`", raises))
