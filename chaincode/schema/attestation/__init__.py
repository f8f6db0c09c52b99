"""Evidence that a measured program computed an aggregate: verified by integer arithmetic alone, so
that every peer comes to the same verdict with whatever libraries it has."""
