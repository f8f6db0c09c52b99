"""Learns to recognise malicious nodes from their conduct: simulated histories, training, export."""
