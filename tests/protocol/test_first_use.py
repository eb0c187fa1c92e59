"""The first use of a decoder by several threads at once: msgspec crashes where two of them make what it keeps of a class."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, threading
from headstream.protocol import head, snapshot

kept = [["n", 1, 1, 1, None, None]]

def work():
    start.wait()
    head._check_extensions({"snapshots": kept}, "heads/s")
    snapshot.listed(kept)

codes = set()
for _ in range(150):
    child = os.fork()
    if child == 0:
        sys.setswitchinterval(1e-6)
        start = threading.Barrier(4)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(sorted(codes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_that_decode_for_the_first_time():
    """Each in a fresh process, which had no thread before."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("[0]\n", "")
