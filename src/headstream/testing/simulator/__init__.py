"""A simulator: the real core of several clients over a model of storage, with hostile weather, all decided by one seed.

Each client appends, reads, advances and follows the feed, keeps checkpoints and collects garbage, through the protocols as shipped. Every request is a point where
another client may go first. A request may be lost before it takes effect, lose its answer after it did, take effect long after the client was told that
nobody knows, or be answered by a refusal that is not true; lists come in pages, and what is written while a page is put together may
be in it or not; clocks are wrong and jump; limits are tiny; a client may crash at any point. Each seed draws which of these are on.

While it lasts it is checked that no head or checkpoint goes back, no object is removed that a head needs, no reader misses what was acknowledged
or sees a stream or the feed go back. When the weather is over, what is late arrives or is lost, and then everything must converge:

* an acknowledged changeset is in its stream, at the version that was acknowledged, exactly once, and in the order of real time;
* an append that said "nothing was written" wrote nothing, not even late;
* an append whose outcome is unknown is there once or not at all, also when it was repeated with its key;
* a read is a prefix of the stream;
* the feed holds every event of every stream exactly once, each stream in order, and every subscription was given just that;
* the inbox is empty, garbage is gone, and nothing that is needed is.

Run it: ``headstream-sim --seed 1 --histories 1000``. The same seed gives the same story, byte for byte.
"""

from headstream.testing.simulator.command import main, simulate
from headstream.testing.simulator.judge import judge
from headstream.testing.simulator.story import story
from headstream.testing.simulator.world import Violation, World

__all__ = ["Violation", "World", "judge", "main", "simulate", "story"]
