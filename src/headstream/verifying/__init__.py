"""Verifying a store, and repairing what can be rebuilt from what is intact."""

from headstream.protocol.fault import Fault, Kind, Mend
from headstream.verifying.bench import Repair
from headstream.verifying.repairs import repair_store as repair
from headstream.verifying.report import Progress, Report
from headstream.verifying.verification import Verification, verify

__all__ = ["Fault", "Kind", "Mend", "Progress", "Repair", "Report", "Verification", "repair", "verify"]
