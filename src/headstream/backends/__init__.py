"""Places that keep objects: memory, one SQLite file, a folder, the cloud."""
