"""The scenario's steps on a running network: through the typed facade of the client, by the
hospitals' own peers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2

from chaincode.schema import canonical, keys
from chaincode.schema.base import Language
from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import RoundPage, RoundView
from chaincode.schema.transactions import TRANSACTIONS
from client import blocks
from client.audit.transactions import header
from client.connection import Connection
from client.consortium import Bound, Call, Consortium, Group
from client.identity import Identity
from network.base import Network
from network.crypto import FIRST_USERS
from support.scenario import Scenario, ref, usual


class NetworkScenario(Scenario):
    """Four hospitals on a network. What it holds is known by queries alone."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._slugs = {h.msp_id: h.slug for h in network.topology.hospitals}
        self._connected: dict[tuple[str, str], Consortium] = {}
        super().__init__(
            {
                (msp_id, user): self._identity(msp_id, user).serialize()
                for msp_id in self._slugs
                for user in ("admin", *FIRST_USERS)
            }
        )

    def close(self) -> None:
        """Close all connections."""
        for consortium in self._connected.values():
            consortium.close()

    def forget(self, msp_id: str) -> None:
        """Ask a hospital no more: its peer is to go."""
        del self._slugs[msp_id]
        for who in [known for known in self._connected if known[0] == msp_id]:
            self._connected.pop(who).close()

    def do(
        self,
        msp_id: str,
        name: str,
        args: Language | Mapping[str, Any] | None = None,
        user: str | None = None,
        transient: Mapping[str, bytes] | None = None,
    ) -> dict[str, Any]:
        caller = self._consortium(msp_id, user or usual(name))
        row = TRANSACTIONS[name]
        argument = row.args.model_validate_json(canonical.dumps(args or {}))
        result = facade(caller)[name].given(transient or {}, argument)
        self.carried_out.add(name)
        if row.writes:
            self.settle(caller)
        return result.model_dump(mode="json")

    def settle(self, caller: Consortium) -> None:
        """Have every peer commit what the caller's has: any may be asked to endorse what comes
        next."""
        for other in self._slugs.keys() - {caller.identity.msp_id}:
            self._consortium(other, "admin").catch_up(caller)

    def refused(
        self,
        who: str | bytes,
        name: str,
        args: Language | Mapping[str, Any] | None = None,
        user: str | None = None,
        transient: Mapping[str, bytes] | None = None,
    ) -> MedFabricError:
        assert isinstance(who, str)
        before = self.height
        with pytest.raises(MedFabricError) as caught:
            self.do(who, name, args, user, transient)
        assert self.height == before, "a refused transaction was ordered"
        return caught.value

    def refused_bytes(self, msp_id: str, name: str, argument: bytes) -> MedFabricError:
        caller = self._consortium(msp_id, usual(name))
        organizations = (msp_id,) if TRANSACTIONS[name].private else ()
        with pytest.raises(MedFabricError) as caught:
            caller.gateway.submit([name.encode(), argument], organizations=organizations)
        return caught.value

    def identity(self, msp_id: str, user: str, *roles: str) -> None:
        self.network.enroll(self._slugs[msp_id], user, roles)
        self.users[msp_id, user] = self._identity(msp_id, user).serialize()

    def round_state(self, plan: PlanTerms, number: int = 1) -> dict[str, Any]:
        args = {"plan_id": plan.plan_id, "number": number}
        page = RoundPage.model_validate_json(
            json.dumps(self.do(plan.hospitals[0], "round:Get", args))
        )
        return RoundView.of([page]).round.model_dump(mode="json")

    def base_of(self, plan: PlanTerms, number: int) -> str:
        return str(self.round_state(plan, number)["base_sha256"])

    def asset(self, key: keys.Key) -> dict[str, Any]:
        raise NotImplementedError("a network shows its assets by queries")

    def wait(self, seconds: int = 1000) -> None:
        raise NotImplementedError("a network's time passes by itself")

    def envelopes(self) -> dict[str, bytes]:
        """Every envelope of a transaction on the ledger, by transaction id, in order."""
        return {name: envelope for name, envelope, _ in self._ordered()}

    def send_again(self, envelopes: Mapping[str, bytes]) -> None:
        """Have these ordered again, and a transaction after them."""
        gateway = self._first.gateway
        for transaction_id, envelope in envelopes.items():
            request = gateway_pb2.SubmitRequest(
                transaction_id=transaction_id,
                channel_id=gateway.channel_name,
                prepared_transaction=common_pb2.Envelope.FromString(envelope),
            )
            try:
                gateway.stub.Submit(request)
            except grpc.RpcError as error:
                # SmartBFT's orderers refuse what they remember to have ordered.
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
        first = next(iter(self._slugs))
        self.do(first, "storage:Hold", {"content": ref("fence"), "until": 2_000_000_000})

    def verdicts(self) -> dict[str, list[int]]:
        """The verdicts on every envelope with a transaction id, in order."""
        found = defaultdict[str, list[int]](list)
        for name, _, flag in self._ordered():
            found[name].append(flag)
        return found

    def _ordered(self) -> Iterator[tuple[str, bytes, int]]:
        msp_id = next(iter(self._slugs))
        connection = Connection.load(self.network.layout.connection(self._slugs[msp_id]))
        for _, raw in blocks.deliver(connection, self._identity(msp_id, "auditor")):
            block = blocks.parse(raw)
            flags = block.metadata.metadata[common_pb2.BlockMetadataIndex.TRANSACTIONS_FILTER]
            for flag, envelope in zip(flags, block.data.data, strict=False):
                channel_header = header(envelope)[1]
                if channel_header.type == common_pb2.HeaderType.ENDORSER_TRANSACTION:
                    yield channel_header.tx_id, envelope, flag

    @property
    def height(self) -> int:
        """Blocks, as the first hospital's peer has them."""
        return self._first.gateway.height()

    @cached_property
    def _first(self) -> Consortium:
        return self._consortium(next(iter(self._slugs)), "admin")

    def _consortium(self, msp_id: str, user: str) -> Consortium:
        if (msp_id, user) not in self._connected:
            slug, layout = self._slugs[msp_id], self.network.layout
            self._connected[msp_id, user] = Consortium.connect(
                layout.connection(slug), layout.user(slug, user)
            )
        return self._connected[msp_id, user]

    def _identity(self, msp_id: str, user: str) -> Identity:
        return Identity.load(self.network.layout.user(self._slugs[msp_id], user))


def facade(consortium: Consortium) -> dict[str, Bound[Any, Any]]:
    """Every transaction as the client names it."""
    groups = [group for group in vars(consortium).values() if isinstance(group, Group)]
    return {
        call.name: getattr(group, name)
        for group in groups
        for name, call in vars(type(group)).items()
        if isinstance(call, Call)
    }
