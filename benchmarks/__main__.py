"""All benchmarks: ``python -m benchmarks``."""

from benchmarks import append, core, feed, read, replay

core.main(3000)
append.main(5)
read.main(3, 1_000_000)
feed.main(3, replay.EVENTS)
