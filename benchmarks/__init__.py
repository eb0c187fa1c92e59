"""Benchmarks: ratios against rivals in the same run, with the same durability. They print; they never fail a build by time."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # where the storage servers are: the package ``servers``
