"""A worker on standby, as a service manager keeps it: ``standby_worker.py URL LOG SECONDS``. It notes each event that it handles."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from headstream import CheckpointLost, Subscription, connect


def main(url: str, log: str, seconds: float) -> None:
    """Work until SIGTERM; begin again after the checkpoint was lost."""
    running: list[Subscription] = []
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()
        for subscription in running:
            subscription.close()

    signal.signal(signal.SIGTERM, end)
    with connect(url) as store, Path(log).open("a", buffering=1) as out:
        while not ended.is_set():
            try:
                with store.subscribe(checkpoint="w", standby=seconds, advance=True) as subscription:
                    running[:] = [subscription]
                    if ended.is_set():
                        return
                    for event in subscription:
                        out.write(f"{os.getpid()} {event.position}\n")
                        subscription.save()
            except CheckpointLost:
                out.write(f"{os.getpid()} lost\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
