"""Judges read a package and write a report.

Each has `Options`, `requires(package_dir, options)` and `run(package_dir, options, progress)`.
"""
