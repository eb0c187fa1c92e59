"""The sans-I/O core: every protocol of headstream, once, as generators of operations."""
