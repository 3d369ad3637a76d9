"""Judges read a package and write a report: `Options`, `requires(package, options)`, `run(package, options, progress)`."""
