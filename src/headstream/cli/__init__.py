"""The ``headstream`` command."""
