"""``python -m chaincode.server --config FILE``: a hospital's chaincode service."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from chaincode.contracts import chaincode
from chaincode.shim.clock import ClockGuard
from chaincode.shim.server import ServerConfig, serve


class Config(BaseModel):
    """The configuration file. Relative paths are relative to its folder."""

    model_config = ConfigDict(extra="forbid")
    address: str
    package_id: str
    tls_cert_file: Path
    tls_key_file: Path
    client_ca_file: Path
    max_clock_skew_seconds: int = 300


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaincode.server")
    parser.add_argument("--config", type=Path, required=True)
    path = parser.parse_args().config
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        config = Config.model_validate_json(path.read_bytes())
        base = path.resolve().parent
        server = ServerConfig(
            address=config.address,
            package_id=config.package_id,
            tls_cert_file=base / config.tls_cert_file,
            tls_key_file=base / config.tls_key_file,
            client_ca_file=base / config.client_ca_file,
        )
        serve(ClockGuard(chaincode(), config.max_clock_skew_seconds), server)
    except (OSError, ValidationError) as error:
        print(f"the chaincode service cannot start from {path}: {error}", file=sys.stderr)
        return 6
    return 0


if __name__ == "__main__":
    sys.exit(main())
