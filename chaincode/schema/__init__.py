"""The published language of the ledger: assets, arguments, events, errors, state tables.

Everything outside the peer (client, trainer, network, auditors) knows the contracts through this
package alone. It imports pydantic and the standard library, nothing else.
"""
