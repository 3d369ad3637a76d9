"""Stages read one artefact and write another: `Options`, `requires(source, options)`, `run(source, dest, options, progress)`."""
