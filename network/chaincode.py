"""The chaincode service that runs beside each hospital's peer; the same for both networks."""

from __future__ import annotations

import json
import sys

from network.processes import Spec
from network.topology import HOST, Hospital, Layout

LABEL = "medfabric_1"


def write_config(layout: Layout, hospital: Hospital, package_id: str) -> None:
    """Write what the service reads."""
    config: dict[str, object] = {
        "address": f"{HOST}:{hospital.ports.chaincode}",
        "package_id": package_id,
        "tls_cert_file": "tls/cert.pem",
        "tls_key_file": "tls/key.pem",
        "client_ca_file": "tls/ca.pem",
    }
    if hospital.ports.chaincode_operations:
        address = f"{HOST}:{hospital.ports.chaincode_operations}"
        config["operations"] = {"address": address}
    path = layout.hospital(hospital.slug) / "chaincode" / "config.json"
    path.write_text(json.dumps(config, indent=1))


def spec(layout: Layout, hospital: Hospital) -> Spec:
    """How the service is started."""
    folder = layout.hospital(hospital.slug) / "chaincode"
    command = [sys.executable, "-m", "chaincode.server", "--config", "config.json"]
    return Spec(f"{hospital.slug}.chaincode", command, {}, folder)
