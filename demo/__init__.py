"""The demonstration: a whole consortium and one honest training on this machine."""
