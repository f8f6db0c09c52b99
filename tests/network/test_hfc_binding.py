"""hfc of 2019 on today's libraries. In processes of their own: it changes how hfc is imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata

import pytest

from chaincode.schema.errors import Code, MedFabricError
from client import hfc_binding


def test_hfc_speaks_through_todays_messages() -> None:
    _run(
        "from client import hfc_binding; hfc_binding.bind(); hfc_binding.bind()",
        "from hfc.fabric import Client",
        "from hfc.protos.common import common_pb2 as theirs",
        "from hfc.protos.ledger.rwset.kvrwset import kv_rwset_pb2",
        "import fabric_protos.common.common_pb2 as ours",
        "assert theirs is ours",
        "assert ours.__spec__.name == 'fabric_protos.common.common_pb2'",
        "import aiogrpc, grpc.aio; assert aiogrpc.secure_channel is grpc.aio.secure_channel",
        "assert aiogrpc.ssl_channel_credentials is grpc.ssl_channel_credentials",
        "import _sha256, hashlib; assert _sha256.sha256 is hashlib.sha256",
    )


def test_without_hfc_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(MedFabricError, match="pip install --no-deps fabric-sdk-py") as refused:
        hfc_binding.bind()

    assert refused.value.code == Code.TOOL_MISSING


def test_the_package_requires_what_it_runs_on_but_not_hfcs_pins() -> None:
    required = {line.split(";")[0].split("=")[0].split(">")[0] for line in _required()}

    assert {"click", "grpcio", "opacus", "pytorch-lightning", "tenseal", "torch"} <= required
    assert not required & {"fabric-sdk-py", "pytest"}


def _required() -> list[str]:
    return metadata.requires("medfabric") or []


def test_hfcs_block_decoder_reads_a_block() -> None:
    _run(
        "from client import hfc_binding; hfc_binding.bind()",
        "from fabric_protos.common import common_pb2",
        "from hfc.fabric.block_decoder import decode_block_header",
        "header = common_pb2.BlockHeader(number=7, previous_hash=b'p', data_hash=b'd')",
        "assert decode_block_header(header)['number'] == 7",
    )


def test_hfcs_cryptography_makes_keys_signs_and_decrypts() -> None:
    _run(
        "from client.hfc_binding import primitives",
        "made = primitives()",
        "key = made.generate_private_key()",
        "assert made.verify(key.public_key(), b'words', made.sign(key, b'words'))",
        "assert made.decrypt(key, made.encrypt(key.public_key(), b'words')) == b'words'",
    )


def test_a_message_that_fabric_no_longer_has_is_not_invented() -> None:
    _run(
        "from client import hfc_binding; hfc_binding.bind()",
        "import importlib.util",
        "assert importlib.util.find_spec('hfc.protos.common.nothing_pb2') is None",
    )


def _run(*lines: str) -> None:
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
