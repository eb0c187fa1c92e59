"""What headstream is tested with, shipped so that a new backend, or an application, can be tested with it too.

The conformance suite (:mod:`headstream.testing.conformance`) needs the extra ``headstream[testing]``.
"""

from headstream.testing.blocking import Blocking

__all__ = ["Blocking"]
