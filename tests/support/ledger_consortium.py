"""The client's facade straight over the real contracts on an in-memory ledger."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from chaincode.schema.base import Language, Role
from chaincode.schema.errors import parse
from client.consortium import Consortium
from support.scenario import Scenario


class LedgerConsortium(Consortium):
    """One user's access; every call is a transaction of its own, a second later."""

    def __init__(self, scenario: Scenario, msp_id: str, user: str) -> None:
        named = SimpleNamespace(identity=SimpleNamespace(msp_id=msp_id))
        super().__init__(named)  # type: ignore[arg-type]
        self._scenario = scenario
        self._who = (msp_id, user)

    @property
    def identity(self) -> Any:
        """Of a node that trains and validates."""
        msp_id, user = self._who
        return SimpleNamespace(msp_id=msp_id, name=user, roles=(Role.TRAINER, Role.VALIDATOR))

    def submit(self, name: str, args: Language, result: Any, **_: Any) -> Any:
        """Commit, or raise what the contracts refused it by."""
        return self._call(name, args, result)

    def evaluate(self, name: str, args: Language, result: Any, **_: Any) -> Any:
        """Query."""
        return self._call(name, args, result)

    def _call(self, name: str, args: Language, result: Any) -> Any:
        response = self._scenario.invoke(self._scenario.users[self._who], name, args)
        if response.status != 200:
            error = parse(response.message)
            assert error is not None, response.message
            raise error
        return result.model_validate_json(response.payload)
