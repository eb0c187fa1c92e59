"""Fuzzes every decoder of the protocol with atheris: ``PYTHONPATH=tests python -m fuzz.decoders --seconds 600``.

The first byte of an input chooses the decoder, the second whether right checksums are put around the rest. What a decoder makes of it must be
an object that survives being encoded, or CorruptData, or UnsupportedFormat. Anything else ends the run, and is kept in the folder.
"""

from __future__ import annotations

import argparse
import random  # noqa: TID251 - seeded by the fuzzer
from collections.abc import Sequence
from pathlib import Path  # noqa: TID251 - this is a program, not the core

import atheris
import msgspec

with atheris.instrument_imports(include=["headstream.protocol"]):
    from headstream.errors import CorruptData, UnsupportedFormat
    from support.decoders import HOSTILE, TARGETS
    from support.trees import at, places, with_value

MAX_INPUT = 4096
"""Bytes: hundreds of events, or references."""
MAX_MEMORY = 600
"""MiB of the whole process: inputs are small, so what takes more was let to grow."""


def try_decoder(data: bytes) -> None:
    """One input. Raises for what no decoder may do."""
    if len(data) < 2:
        return
    target = TARGETS[data[0] % len(TARGETS)]
    body = target.wrap(data[2:]) if data[1] % 2 else data[2:]
    try:
        again = target.read(body)
    except (CorruptData, UnsupportedFormat):
        return
    if target.read(again) != again:
        raise AssertionError(f"{target.name}: what was decoded does not survive")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Another input: every second time the same MessagePack with another value in one place, else as the fuzzer changes bytes."""
    chance = random.Random(seed)  # noqa: S311 - the fuzzer's seed decides
    if len(data) > 2 and data[1] % 2 and chance.random() < 0.5:
        try:
            return (data[:2] + twist(data[2:], chance))[:max_size]
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
            pass
    return bytes(atheris.Mutate(data, max_size))


def twist(packed: bytes, chance: random.Random) -> bytes:
    """MessagePack with another value in one place."""
    tree = msgspec.msgpack.decode(packed)
    spots = list(places(tree))
    spot = chance.choice(spots)
    value = at(tree, spot)
    choices: list[object] = [msgspec.Raw(chance.choice(HOSTILE)), at(tree, chance.choice(spots))]
    if isinstance(value, int):
        choices += [min(value + 1, 2**64 - 1), max(value - 1, -(2**63)), chance.getrandbits(chance.randrange(1, 65))]
    if isinstance(value, bytes):
        choices.append(bytes(atheris.Mutate(value, len(value) + 20)))
    if isinstance(value, list):
        choices += [value[:-1], [*value, *value[-1:]], value[::-1], [value]]
    return msgspec.msgpack.encode(with_value(tree, spot, chance.choice(choices)))


def write_corpus(folder: Path) -> None:
    """What the fuzzer begins from: each real body as it is, and what is under its checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, target in enumerate(TARGETS):
        (folder / f"real-{number}-whole").write_bytes(bytes([number, 0]) + target.body)
        (folder / f"real-{number}-inner").write_bytes(bytes([number, 1]) + target.inner)


def write_dictionary(path: Path) -> None:
    """Pieces that the fuzzer may put in: MessagePack that no writer makes."""
    words = [word for word in HOSTILE if 0 < len(word) <= 64]
    lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in words]
    path.write_text("".join(f'"{line}"\n' for line in lines))


def main(argv: Sequence[str] | None = None) -> None:
    """Fuzz for a while. The process ends with 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.decoders", description="Fuzz the decoders of headstream.")
    parser.add_argument("--seconds", type=int, default=60, help="how long; 60 unless told")
    parser.add_argument(
        "--seed", type=int, default=0, help="what to begin chance with; 0, unless told: another each time"
    )
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where the corpus grows; .fuzz unless told")
    parser.add_argument("inputs", nargs="*", help="try these files again, and nothing else")
    options = parser.parse_args(argv)
    corpus, dictionary = options.folder / "corpus", options.folder / "dictionary"
    write_corpus(corpus)
    write_dictionary(dictionary)
    arguments = [
        "decoders",
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed}",
        f"-dict={dictionary}",
        f"-artifact_prefix={options.folder}/found-",
        f"-max_len={MAX_INPUT}",
        f"-rss_limit_mb={MAX_MEMORY}",
        "-timeout=10",
        "-print_final_stats=1",
        *(options.inputs or [str(corpus)]),
    ]
    atheris.Setup(arguments, try_decoder, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
