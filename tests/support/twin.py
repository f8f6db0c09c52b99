"""Executes every transaction a second time, in an interpreter with other surroundings.

The second interpreter has another hash seed, locale, time zone, folder and one processor. It is
given what the first execution read of the ledger, in the order of reading, and must ask for the
same and come to the same response, writes, policies and event, byte by byte.
"""

from __future__ import annotations

import base64
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chaincode.shim.chaincode import Response
from chaincode.shim.stub import KeyModification, KeyValue, Page, PeerError, Proposal, Stub

TESTS = Path(__file__).parents[1]
SURROUNDINGS = {
    "PYTHONHASHSEED": "4242",
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "tr_TR.UTF-8",
    "TZ": "Asia/Kathmandu",
}


class DivergenceError(BaseException):
    """Two executions of one transaction differ. No chaincode catches it."""


class Recorder:
    """A ledger in front of another that keeps what was asked and answered."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.reads: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        read = getattr(self._ledger, name)

        def recorded(*args: Any) -> Any:
            asked = [name, _plain(args)]
            try:
                found = read(*args)
                lasting = list(found) if isinstance(found, Iterator) else found
            except PeerError as error:
                self.reads.append([*asked, {"error": str(error)}])
                raise
            answer = _plain(lasting)
            is_iterator = lasting is not found
            self.reads.append([*asked, {"iterator": answer} if is_iterator else answer])
            return iter(lasting) if is_iterator else found

        return recorded


class Replay:
    """A ledger that answers what was answered before, if the same is asked."""

    def __init__(self, reads: Sequence[Any]) -> None:
        self._reads = list(reversed(reads))
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        def answer(*args: Any) -> Any:
            asked = [name, _plain(args)]
            self.asked.append(asked)
            wanted = self._reads.pop() if self._reads else ["nothing more", None, None]
            if wanted[:2] != asked:
                raise DivergenceError(f"asked for {asked} where it was {wanted[:2]}")
            return _living(wanted[2])

        return answer


class Twin:
    """The second interpreter. ``chaincode`` is ``MODULE:FUNCTION``."""

    def __init__(self, chaincode: str) -> None:
        self.compared = 0
        self.transactions = pkgutil.resolve_name(chaincode)().declarations.keys()
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        with tempfile.TemporaryDirectory() as folder:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.twin", chaincode],
                env={**os.environ, **SURROUNDINGS, "PYTHONPATH": paths},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]),
            )
            self._answer()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def runs(self, chaincode: Any) -> bool:
        """Whether this is the chaincode that the second interpreter has."""
        return getattr(chaincode, "declarations", {}).keys() == self.transactions

    def compare(self, chaincode: Any, stub: Stub, recorder: Recorder) -> Response:
        """Execute a transaction in both.

        Raises:
            DivergenceError: the second execution differs.
        """
        try:
            response = chaincode.invoke(stub)
        except Exception:
            self._second(stub, recorder, None)
            raise
        self._second(stub, recorder, response)
        return response

    def _second(self, stub: Stub, recorder: Recorder, response: Response | None) -> None:
        assert self._process.stdin is not None
        request = {
            "tx_id": stub.tx_id,
            "channel_id": stub.channel_id,
            "args": _plain(stub.args),
            "proposal": _plain(stub.proposal_bytes),
            "reads": recorder.reads,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        asked = [read[:2] for read in recorder.reads]
        first = json.loads(json.dumps({**outcome(stub, response), "asked": asked}))
        second = self._answer()
        self.compared += 1
        different = [part for part in first if first[part] != second[part]]
        if different:
            both = [(first[part], second[part]) for part in different]
            raise DivergenceError(
                f"{stub.args[0].decode()}: {', '.join(different)} differ between interpreters: "
                f"{both}"
            )

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the second interpreter has ended")
        return json.loads(line)


def outcome(stub: Stub, response: Response | None) -> dict[str, Any]:
    """What a transaction came to."""
    succeeded = response is not None and response.status < 400
    return {
        "response": response and [response.status, response.message, _plain(response.payload)],
        "writes": _plain([vars(write) for write in stub.writes]) if succeeded else None,
        "event": _plain(stub.event) if succeeded else None,
    }


def _plain(value: Any) -> Any:
    """As JSON; bytes and records keep their kind."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, KeyValue | KeyModification | Page):
        return {"kind": type(value).__name__, "of": [_plain(item) for item in vars(value).values()]}
    if isinstance(value, Mapping):
        return {"map": [[_plain(k), _plain(v)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _living(value: Any) -> Any:
    if isinstance(value, list):
        return [_living(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "error" in value:
        raise PeerError(value["error"])
    if "iterator" in value:
        return iter(_living(value["iterator"]))
    if "bytes" in value:
        return base64.b64decode(value["bytes"])
    if "map" in value:
        return {_living(k): _living(v) for k, v in value["map"]}
    kinds = {"KeyValue": KeyValue, "KeyModification": KeyModification, "Page": Page}
    return kinds[value["kind"]](*[_living(item) for item in value["of"]])


def main(name: str) -> None:
    """Answer one transaction a line."""
    chaincode = pkgutil.resolve_name(name)()
    print("{}", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        ledger = Replay(request["reads"])
        proposal = Proposal(_living(request["proposal"]))
        args = _living(request["args"])
        stub = Stub(request["tx_id"], request["channel_id"], args, proposal, ledger)
        response: Response | None = None
        try:
            response = chaincode.invoke(stub)
        except DivergenceError as error:
            response = Response(599, str(error))
        except Exception:  # the first execution must have raised too
            response = None
        print(json.dumps({**outcome(stub, response), "asked": ledger.asked}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
