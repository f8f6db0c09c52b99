"""Performance, measured side by side in one run. ``make bench-NAME`` runs ``benchmarks/NAME``."""
