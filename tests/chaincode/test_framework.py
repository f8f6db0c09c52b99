"""Contracts of any author: declared by decorators and types, checked, described."""

from __future__ import annotations

import importlib
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field
from support.memory_stub import MemoryLedger, creator

from chaincode import shim
from chaincode.contracts import VERSION, chaincode
from chaincode.contracts.model import ModelContract
from chaincode.framework import METADATA_TRANSACTION, Context, Info, Router, transaction
from chaincode.schema.base import Empty, Language
from chaincode.schema.errors import Code, parse
from chaincode.schema.reference import transactions_page
from chaincode.schema.rounds import Model, ModelArgs
from chaincode.schema.transactions import TRANSACTIONS
from chaincode.shim import Response

ROOT = Path(__file__).parents[2]
INFO = Info("Test", "1")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[types.ModuleType]:
    """The contract of the documentation, as a module."""
    text = (ROOT / "docs" / "how-to" / "write-a-contract.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code) == 1
    folder = tmp_path_factory.mktemp("example")
    (folder / "wards.py").write_text(code[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("wards")
    del sys.modules["wards"]


class Calls:
    """A ledger with one chaincode and callers by role."""

    def __init__(self, router: Router) -> None:
        self.ledger = MemoryLedger()
        self.router = router

    def __call__(self, roles: str, name: str, /, **args: Any) -> Response:
        who = creator("OneMSP", "somebody", roles)
        return self.ledger.invoke(self.router, who, name, json.dumps(args).encode(), 1_000)

    def code(self, roles: str, name: str, /, **args: Any) -> str:
        """The code of a refusal, which leaves nothing behind."""
        before = dict(self.ledger.state)
        response = self(roles, name, **args)
        assert response.status == 400
        assert self.ledger.state == before
        error = parse(response.message)
        return error.code if error else response.message.partition(":")[0]


# the documented example


def test_the_documented_contract_runs(example: types.ModuleType) -> None:
    router = Router([example.WardContract()], INFO)
    call = Calls(router)

    opened = call("admin", "ward:Open", ward="east", beds=3)
    admitted = call("trainer", "ward:Admit", ward="east", patients=2)
    listed = call("", "ward:List")

    assert json.loads(opened.payload) == {"ward": "east", "beds": 3, "free": 3}
    assert json.loads(admitted.payload)["free"] == 1
    assert json.loads(listed.payload)["wards"] == [json.loads(admitted.payload)]
    assert call.ledger.events[-1] == ("ward.changed", b'{"ward":"east"}')


@pytest.mark.parametrize(
    ("roles", "name", "args", "code"),
    [
        ("trainer", "ward:Open", {"ward": "west", "beds": 3}, Code.ROLE_REQUIRED),
        ("admin", "ward:Open", {"ward": "east", "beds": 3}, Code.EXISTS),
        ("admin", "ward:Open", {"ward": "west", "beds": 0}, Code.BAD_ARGUMENT),
        ("admin", "ward:Open", {"ward": "WEST", "beds": 3}, Code.BAD_ARGUMENT),
        ("admin", "ward:Open", {"ward": "west", "beds": "3"}, Code.BAD_ARGUMENT),
        ("admin", "ward:Open", {"ward": "west"}, Code.BAD_ARGUMENT),
        ("admin", "ward:Open", {"ward": "w", "beds": 3, "more": 1}, Code.BAD_ARGUMENT),
        ("trainer", "ward:Admit", {"ward": "none"}, Code.NOT_FOUND),
        ("trainer", "ward:Admit", {"ward": "east", "patients": 9}, "WARD-0001"),
        ("trainer", "ward:Close", {"ward": "east"}, Code.UNKNOWN_TRANSACTION),
    ],
)
def test_the_documented_contract_refuses_by_code(
    example: types.ModuleType, roles: str, name: str, args: dict[str, Any], code: str
) -> None:
    call = Calls(Router([example.WardContract()], INFO))
    call("admin", "ward:Open", ward="east", beds=3)

    assert call.code(roles, name, **args) == code


def test_roles_are_read_from_the_attribute_that_the_author_names(
    example: types.ModuleType,
) -> None:
    contracts = [example.WardContract()]
    call = Calls(Router(contracts, INFO, roles_attribute="hospital.roles"))

    assert call.code("admin", "ward:Open", ward="east", beds=3) == Code.ROLE_REQUIRED
    assert call("admin", "ward:List").status == 200


def test_documentation_is_made_from_any_contracts_declarations(
    example: types.ModuleType,
) -> None:
    page = transactions_page(example.chaincode().declarations)

    assert (
        "| [ward:Admit](#wardadmit) | submit | admin, trainer | Take beds for patients. |" in page
    )
    assert "| `patients` | integer, at least 1 | else `1` |" in page
    assert "| [ward:List](#wardlist) | evaluate | any | All wards, by pages of 50. |" in page


# declarations that contradict themselves


class Untyped:
    @transaction("t:Go", roles=())
    def go(self, context: Context, what) -> None: ...  # type: ignore[no-untyped-def]


class Unreturning:
    @transaction("t:Go", roles=())
    def go(self, context: Context) -> int: ...  # type: ignore[empty-body]


class Roleless:
    @transaction("t:Go")
    def go(self, context: Context) -> None: ...


class Starred:
    @transaction("t:Go", roles=())
    def go(self, context: Context, *what: int) -> None: ...


class Twice:
    @transaction("t:Go", roles=())
    def go(self, context: Context) -> None: ...

    @transaction("t:Go", roles=())
    def went(self, context: Context) -> None: ...


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (Untyped(), "what has no type"),
        (Unreturning(), "return a pydantic model"),
        (Roleless(), "declare the roles"),
        (Starred(), "what has no type"),
        (Twice(), "twice"),
    ],
)
def test_a_contradictory_declaration_is_refused_at_the_start(contract: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Router([contract], INFO)


class OtherModel:
    @transaction("model:Get")
    def get(self, context: Context, args: Empty) -> Model: ...  # type: ignore[empty-body]


class OtherRoles:
    @transaction("model:Get", roles=["admin"])
    def get(self, context: Context, args: ModelArgs) -> Model: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("contracts", "words"),
    [
        ([ModelContract()], "not implemented: application:Get"),
        ([ModelContract(), ModelContract()], "twice"),
        ([OtherModel()], "types are not those of the table"),
        ([OtherRoles()], "declare no roles"),
        ([Roleless()], "not in the table"),
    ],
)
def test_a_published_table_and_its_contracts_match(contracts: list[object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Router(contracts, INFO, table=TRANSACTIONS)


# what a method gets and gives


class Given(Language):
    """What a method got."""

    numbers: tuple[int, ...]
    said: str


class Echo:
    @transaction("echo:Say", roles=())
    def say(
        self,
        context: Context,
        numbers: Annotated[tuple[int, ...], Field(max_length=3)],
        *,
        said: str = "nothing",
    ) -> Given:
        """Say it again."""
        return Given(numbers=numbers, said=said)

    @transaction("echo:Nothing", roles=())
    def nothing(self, context: Context) -> None:
        """Say nothing."""


def test_parameters_are_checked_fields_with_their_defaults() -> None:
    call = Calls(Router([Echo()], INFO))

    assert call("", "echo:Say", numbers=[1, 2]).payload == b'{"numbers":[1,2],"said":"nothing"}'
    assert call("", "echo:Nothing").payload == b"{}"
    assert call.code("", "echo:Say", numbers=[1, 2, 3, 4]) == Code.BAD_ARGUMENT
    assert call.code("", "echo:Say", numbers=[1.5]) == Code.BAD_ARGUMENT


class Things(Language):
    """Some things."""

    things: tuple[Given, ...]
    bookmark: str


class Pages:
    @transaction("page:Read", roles=(), writes=False)
    def read(self, context: Context, bookmark: str) -> Things:
        """A page of one."""
        things, following = context.page("thing", ("a",), Given, 1, bookmark)
        return Things(things=things, bookmark=following)


def test_a_bookmark_of_another_list_is_refused() -> None:
    call = Calls(Router([Pages()], INFO))
    for attributes in (("a", "1"), ("a", "2"), ("b", "1")):
        call.ledger.state[shim.composite_key("thing", attributes)] = b'{"numbers":[],"said":""}'
    call.ledger.state[shim.composite_key("other", ("a", "1"))] = b"{}"

    first = json.loads(call("", "page:Read", bookmark="").payload)
    second = json.loads(call("", "page:Read", bookmark=first["bookmark"]).payload)

    assert (len(second["things"]), second["bookmark"]) == (1, "")
    for bookmark in ("a", "\x00", *list(call.ledger.state)[2:]):
        assert call.code("", "page:Read", bookmark=bookmark) == Code.BAD_ARGUMENT


# metadata


def metadata(router: Router) -> dict[str, Any]:
    ledger = MemoryLedger()
    response = ledger.invoke(router, b"anybody", METADATA_TRANSACTION, None, 1_000)
    assert response.status == 200
    found: dict[str, Any] = json.loads(response.payload)
    return found


def test_metadata_names_every_transaction_and_every_type() -> None:
    found = metadata(chaincode())

    assert found["info"] == {"title": "MedFabric", "version": VERSION}
    named = {
        f"{contract['name']}:{row['name']}"
        for contract in found["contracts"].values()
        for row in contract["transactions"]
    }
    assert named == set(TRANSACTIONS)
    schemas = found["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    assert references <= set(schemas)
    for name, schema in schemas.items():
        assert schema["$id"] == name
        assert isinstance(schema["properties"], dict)


def test_metadata_says_how_a_transaction_is_called() -> None:
    found = metadata(chaincode())

    rows = {row["name"]: row for row in found["contracts"]["round"]["transactions"]}
    assert rows["SubmitUpdate"]["tag"] == ["submit", "SUBMIT"]
    assert rows["SubmitUpdate"]["roles"] == ["trainer"]
    assert rows["Get"]["tag"] == ["evaluate", "EVALUATE"]
    (parameter,) = rows["Get"]["parameters"]
    assert parameter["schema"] == {"$ref": "#/components/schemas/RoundPageArgs"}
    assert rows["Get"]["returns"] == {"$ref": "#/components/schemas/RoundPage"}


def test_metadata_fits_the_form_that_fabrics_clients_read() -> None:
    # The members that the public schema requires and, where it closes an object, allows.
    found = metadata(Router([Echo()], INFO))

    assert {"info", "contracts"} <= found.keys()
    assert found["info"] == {"title": "Test", "version": "1"}
    for contract in found["contracts"].values():
        assert {"name", "transactions"} <= contract.keys()
        for row in contract["transactions"]:
            assert isinstance(row["tag"], list)
            for parameter in row["parameters"]:
                assert parameter.keys() <= {"name", "description", "required", "schema"}
                assert {"name", "schema"} <= parameter.keys()


def test_two_models_of_one_name_are_refused() -> None:
    class Other:
        @transaction("other:Say", roles=())
        def say(self, context: Context, numbers: int) -> None: ...

    with pytest.raises(ValueError, match="SayArgs"):
        Router([Echo(), Other()], INFO)


def test_metadata_takes_no_argument() -> None:
    ledger = MemoryLedger()
    who = creator("OneMSP", "somebody", "")

    response = ledger.invoke(chaincode(), who, METADATA_TRANSACTION, b"{}", 1_000)

    assert response.message.startswith(Code.UNKNOWN_TRANSACTION)


def test_the_version_is_the_packages() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{VERSION}"' in project


# the shim's reference


def test_the_shims_reference_names_what_there_is() -> None:
    text = (ROOT / "docs" / "reference" / "shim.md").read_text()
    stub, identity, policy = re.findall(r"\| `(\w+)` \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    owners = {"Stub": shim.Stub, "ClientIdentity": shim.ClientIdentity}
    owners["KeyEndorsementPolicy"] = shim.KeyEndorsementPolicy

    for name, rows in (stub, identity, policy):
        documented = set()
        for row in rows.splitlines():
            documented |= set(re.findall(r"`([a-z_]\w+)[`.]", row.split("|")[2]))
        owned = {entry for entry in dir(owners[name]) if not entry.startswith("_")}
        fields = set(getattr(owners[name], "__dataclass_fields__", ()))
        made = (
            {"args", "tx_id", "channel_id", "signature", "decorations"} if name == "Stub" else set()
        )
        assert documented <= owned | fields | made | set(shim.__all__)
        internal = {"event", "writes", "parse", "common_name", "public_key_sha256", "raw"}
        private = {entry for entry in owned if "private" in entry}
        assert owned - internal - private <= documented
