"""How `tune` finds a package's precisions and settings: makes candidates, measures them, keeps the figures, and chooses."""
