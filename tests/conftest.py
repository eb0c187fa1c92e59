"""How all tests run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["servers.fixtures"]

# No deadlines: machines that share their cores would make them lie.
settings.register_profile("developer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("developer"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("developer"), max_examples=2000)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
