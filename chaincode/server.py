"""``python -m chaincode.server --config FILE``: a hospital's chaincode service."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaincode.shim import logs
from chaincode.shim.chaincode import Chaincode
from chaincode.shim.clock import ClockGuard
from chaincode.shim.handler import MESSAGE_LIMIT, Limits
from chaincode.shim.server import ServerConfig, serve


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LimitsConfig(_Strict):
    """See :class:`chaincode.shim.handler.Limits`."""

    message_bytes: Annotated[int, Field(ge=1024, le=MESSAGE_LIMIT)] = MESSAGE_LIMIT
    transactions: Annotated[int, Field(ge=1, le=10_000)] = Limits.transactions
    seconds: Annotated[float, Field(gt=0, le=3600)] = Limits.seconds


class OperationsConfig(_Strict):
    """Where ``/healthz`` and ``/metrics`` are served; without ``tls`` on a loopback address."""

    address: str
    tls: bool = True


class LogConfig(_Strict):
    """What is logged to standard error, as text or JSON lines."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"


class Config(_Strict):
    """The configuration file. Relative paths are relative to its folder.

    ``chaincode`` names the function that makes the chaincode, as ``MODULE:FUNCTION``.
    """

    chaincode: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] = "chaincode.contracts:chaincode"
    address: str
    package_id: str
    tls_cert_file: Path
    tls_key_file: Path
    client_ca_file: Path
    max_clock_skew_seconds: int = 300
    limits: LimitsConfig = LimitsConfig()
    operations: OperationsConfig | None = None
    log: LogConfig = LogConfig()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaincode.server")
    parser.add_argument("--config", type=Path, required=True)
    path = parser.parse_args().config
    try:
        config = Config.model_validate_json(path.read_bytes())
        logs.configure(config.log.level, as_json=config.log.format == "json")
        make: object = pkgutil.resolve_name(config.chaincode)
        if not callable(make):
            raise ImportError(f"{config.chaincode} is no function")
        chaincode: Chaincode = make()
        serve(ClockGuard(chaincode, config.max_clock_skew_seconds), _server(config, path))
    except (OSError, ValidationError, ImportError, AttributeError) as error:
        print(f"the chaincode service cannot start from {path}: {error}", file=sys.stderr)
        return 6
    return 0


def _server(config: Config, path: Path) -> ServerConfig:
    base = path.resolve().parent
    return ServerConfig(
        address=config.address,
        package_id=config.package_id,
        tls_cert_file=base / config.tls_cert_file,
        tls_key_file=base / config.tls_key_file,
        client_ca_file=base / config.client_ca_file,
        limits=Limits(**config.limits.model_dump()),
        operations=config.operations.address if config.operations else "",
        operations_tls=config.operations.tls if config.operations else True,
    )


if __name__ == "__main__":
    sys.exit(main())
