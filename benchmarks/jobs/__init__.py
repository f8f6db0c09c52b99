"""The same training as a job of each peer, and as ours; see :mod:`benchmarks.peers`."""
