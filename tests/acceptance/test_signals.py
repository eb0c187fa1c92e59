"""Real signals whose handler raises, at random moments of appends: what ``test_interrupting`` does at every place, without knowing
the places. Another process then finds all that was acknowledged, nothing twice, and nothing held."""

import json
import subprocess
import sys

import pytest

from acceptance.places import Place
from headstream import Decider, Event

PLACES = ("sqlite", "files", "azurite", "ministack")
ROUNDS = 250

PROGRAM = """
import json, random, signal, sys, time
from headstream import Decider, Event, connect

class Interrupted(BaseException):
    pass

def interrupt(*_):
    if armed:
        raise Interrupted

counting = Decider(initial=lambda: 0, evolve=lambda count, _event: count + 1)
armed, acknowledged, interrupts = False, [], 0
chance = random.Random(20120216)
signal.signal(signal.SIGALRM, interrupt)
with connect(sys.argv[1], tail_bytes=2000, advance_every=5) as store:
    began = time.perf_counter()
    for number in range(20):
        store.append("warm", Event("E", number))
    longest = (time.perf_counter() - began) / 20
    for number in range(int(sys.argv[2])):
        try:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, longest))
                if number % 5:
                    store.append("s", Event("E", number))
                else:
                    store.transact("s", counting, lambda _: Event("E", number))
                acknowledged.append(number)
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            interrupts += 1
            armed = False
    store.append("s", Event("E", "after"))
    store.transact("s", counting, lambda count: Event("E", "decided"))
print(json.dumps([acknowledged, interrupts]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_interrupted_at_random_moments(place: Place):
    """Some hundred times in one process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, place.url, str(ROUNDS)],
        env=place.process_environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    acknowledged, interrupts = json.loads(done.stdout)
    assert interrupts > ROUNDS / 10
    with place.connect() as store:
        store.append("s", Event("E", "another process"))
        counting = Decider(initial=lambda: 0, evolve=lambda count, _event: count + 1)
        store.transact("s", counting, lambda _: Event("E", "that decides"))
        data = [event.data for event in store.read("s")]
        assert data[-2:] == ["another process", "that decides"]
        assert data[-4:-2] == ["after", "decided"]
        assert len(data) == len(set(map(str, data)))
        assert set(acknowledged) <= set(data)
        assert [event.data for event in store.feed(streams="s")] == data
