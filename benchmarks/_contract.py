"""The contract that ``benchmarks.chaincode`` runs on our shim; ``equal/main.go`` is the same."""

from __future__ import annotations

from chaincode.framework import Context, Info, Router, transaction
from chaincode.schema.base import Language
from chaincode.shim.stub import composite_key

COMMON = 9


class Asset(Language):
    """What is read and written."""

    name: str
    text: str


EMPTY = Asset(name="", text="")


class BenchmarkContract:
    """One role, checked; JSON in and out."""

    @transaction("bench:Read", roles=["admin"], writes=False)
    def read(self, context: Context, name: str) -> Asset:
        """Read one asset."""
        return context.find(("asset", (name,)), Asset) or EMPTY

    @transaction("bench:Write", roles=["admin"])
    def write(self, context: Context, name: str, text: str) -> Asset:
        """Write one asset."""
        return self._write(context, name, text)

    @transaction("bench:WriteMany", roles=["admin"])
    def write_many(self, context: Context, name: str, text: str) -> Asset:
        """Write a hundred."""
        return [self._write(context, f"{name}-{number}", text) for number in range(100)][-1]

    @transaction("bench:Update", roles=["admin"])
    def update(self, context: Context, name: str, text: str) -> Asset:
        """The reads and writes of a node's update: 3 and 6 keys, a key's policy; 6 writes."""
        for numbers in (range(3), range(3, COMMON)):
            context.find_all([("asset", (f"common-{number}",)) for number in numbers], Asset)
        context.stub.get_state_validation_parameter(composite_key("asset", (f"{name}-account",)))
        for part in ("account", "act", "edge-1", "edge-2", "written"):
            self._write(context, f"{name}-{part}", text if part == "account" else "")
        context.emit("update", name=name)
        return self._write(context, name, text)

    def _write(self, context: Context, name: str, text: str) -> Asset:
        asset = Asset(name=name, text=text)
        context.put(("asset", (name,)), asset)
        return asset


def chaincode() -> Router:
    """What the service runs."""
    return Router([BenchmarkContract()], Info("Benchmark", "1"))
