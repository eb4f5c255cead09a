"""Measurements: each a command that prints a table and writes its numbers as JSON."""

import pipeline  # noqa: F401 (sets the number of BLAS threads, before numpy is loaded)
