"""Benchmarks: ratios against rivals in the same run, with the same durability. They print; they never fail a build by time."""
