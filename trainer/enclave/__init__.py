"""Enclaves that a node can attest by: AMD SEV-SNP's, and a software attester in its place."""
