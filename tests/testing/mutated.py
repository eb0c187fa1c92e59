"""Run the simulator over code with one deliberate error in it: a program for a process of its own.

Reads a :class:`testing.mutants.Mutant` as JSON from stdin; the module's source is changed as it is imported. Prints the number of
histories until the error was caught and what was broken, or ``survived``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader


class Loader(SourceFileLoader):
    """Loads a module whose source has been changed."""

    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        super().__init__(name, path)
        self._old, self._new = old, new

    def get_code(self, fullname: str):  # no bytecode of the honest module is used, and none of this one is kept
        return self.source_to_code(self.get_data(self.path), self.path)

    def get_data(self, path: str) -> bytes:
        source = super().get_data(path).decode()
        if source.count(self._old) != 1:
            raise SystemExit(f"the mutant does not fit {self.name}: {source.count(self._old)} places")
        return source.replace(self._old, self._new).encode()


class Finder(MetaPathFinder):
    """Finds the module that is to be changed."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self._module, self._old, self._new = module, old, new

    def find_spec(self, fullname, path, target=None) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(fullname)
        assert found is not None
        assert found.origin is not None
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=Loader(fullname, found.origin, self._old, self._new)
        )


def main() -> None:
    asked = json.load(sys.stdin)
    sys.meta_path.insert(0, Finder(asked["module"], asked["old"], asked["new"]))
    from headstream.testing.simulator import simulate
    from headstream.testing.simulator.explore import CASES, HUNTS, Broken, explore

    if asked["case"]:
        try:
            explore(next(case for case in (*CASES, *HUNTS) if case.name == asked["case"]))
        except Broken as broken:
            print(1, str(broken).splitlines()[0])
        else:
            print("survived")
        return
    for seed in range(asked["histories"]):
        failures = simulate((seed,)).failures
        if failures:
            print(seed + 1, failures[0].promise)
            return
    print("survived")


if __name__ == "__main__":
    main()
