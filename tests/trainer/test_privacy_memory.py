"""Without memory, homomorphic encryption says so, whichever allocation fails."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy import seal

_TRIALS = """
import json, pathlib, resource
import tenseal.sealapi
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import MedFabricError
from trainer.privacy.seal import Seal

def begun(room):
    held = [l for l in pathlib.Path("/proc/self/status").read_text().splitlines() if "VmData" in l]
    limit = 1024 * int(held[0].split()[1]) + room
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    try:
        Seal(EncryptionTerms())
    except MedFabricError as error:
        return error.code
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
    return "begun"

print(json.dumps([begun(room) for room in (0, 200_000, 1_000_000, 3_000_000, 6_000_000, 2**26)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_exhausted_memory_is_told_as_such() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TRIALS], capture_output=True, check=True, text=True, timeout=60
    )

    found = json.loads(done.stdout)
    assert found[:4] == [Code.MEMORY_EXHAUSTED] * 4
    assert set(found) == {Code.MEMORY_EXHAUSTED, "begun"}
    assert found[-1] == "begun"


def test_what_the_library_runs_out_of_half_way_is_no_fault_of_the_terms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tenseal.sealapi as api

    class Exhausted:
        """As the library's context is when an allocation of its fails."""

        def __init__(self, *_: object) -> None:
            self.parameters_set = lambda: False
            self.parameters_error_name = lambda: "failed_creating_rns_tool"
            self.parameters_error_message = lambda: "RNSTool cannot be constructed"

    monkeypatch.setattr(api, "SEALContext", Exhausted)

    with pytest.raises(MedFabricError) as caught:
        seal.Seal(EncryptionTerms())
    assert caught.value.code == Code.MEMORY_EXHAUSTED
