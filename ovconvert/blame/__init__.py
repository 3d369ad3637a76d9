"""Finds what a worse package owes its loss to: components exchanged one by one, then the layers of the guilty one."""
