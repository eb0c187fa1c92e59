"""``python -m headstream.testing.simulator``."""

import sys

from headstream.testing.simulator.command import main

sys.exit(main())
