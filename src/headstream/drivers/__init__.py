"""Drivers execute the operations of the core against a backend: one blocking, one for asyncio."""
