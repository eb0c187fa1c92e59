"""Coverage-guided fuzzing of the decoders; see ``README.md`` in this folder."""
