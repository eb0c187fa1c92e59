"""Whether a backend keeps the promises of :mod:`headstream.backends.base`: proven by racing it.

Storage that ignores a condition loses events without a word, and storage whose lists are stale hides them from the feed. ``headstream
doctor URL``, or :func:`examine`, tries each promise from several connections at once::

    from headstream.doctor import examine

    report = examine("s3://events/shop")
    assert report.suitable, report.broken

What cannot be tried: that a write which was answered survives the loss of power, and a race so rare that it was not met.

* ``report``: what an examination found;
* ``bounds``: how much it does;
* ``bench``: the connections, and the bounds of requests and time;
* ``conditions``, ``consistency``, ``lists``, ``objects``, ``timing``: the checks;
* ``places``: from a URL to connections;
* ``examination``: the checks in their order.
"""

from headstream.doctor.bounds import Bounds
from headstream.doctor.examination import Examination, examine
from headstream.doctor.report import Finding, Report, Verdict

__all__ = ["Bounds", "Examination", "Finding", "Report", "Verdict", "examine"]
