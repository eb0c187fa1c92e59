"""Tests of the examples: they are documentation, and documentation works."""
