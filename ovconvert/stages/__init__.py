"""Stages read one artefact and write another.

Each has `Options`, `requires(source, options)` and `run(source, dest, options, progress)`.
"""
