"""A private IPFS node of one's own: Kubo, told to speak to its consortium alone.

Swarm and RPC listen on the loopback address, the swarm demands the consortium's pre-shared key,
the RPC port a bearer secret; no bootstrap nodes, no discovery, no content routing, no telemetry.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaincode.schema.errors import Code, MedFabricError
from client import tools
from client.content.ipfs import KuboStore
from client.files import write_whole

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0


def new_swarm_key() -> bytes:
    """A pre-shared key for the nodes of one consortium (libp2p private network, version 1)."""
    return b"/key/swarm/psk/1.0.0/\n/base16/\n" + secrets.token_hex(32).encode() + b"\n"


def find_kubo() -> Path | None:
    """The program ``ipfs``, where it is installed or was built."""
    return tools.find("ipfs")


def build_kubo() -> Path:
    """Build Kubo once into the user's cache: the pinned version, minutes on a small machine.

    Raises:
        MedFabricError: ``TOOL_MISSING`` without Go, ``TOOL_FAILED`` where the build fails.
    """
    return tools.build("ipfs", Path(__file__).parent / "kubo_module")


class KuboNode:
    """One Kubo node in a folder: made once, started and stopped at will.

    ``secret_file`` holds the RPC port's bearer secret; ``api`` is that port's multiaddress.
    """

    def __init__(self, folder: Path, binary: Path) -> None:
        self._folder = folder.resolve()
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, folder: Path, binary: Path, swarm_key: bytes) -> Self:
        """Make the node's repository; its ports are chosen now and kept.

        Raises:
            MedFabricError: ``TOOL_FAILED`` where Kubo cannot make it.
        """
        node = cls(folder, binary)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        node._ipfs("init", "--empty-repo")
        write_whole(node._folder / "swarm.key", swarm_key, mode=0o600)
        write_whole(node.secret_file, secrets.token_hex(32).encode(), mode=0o600)
        node._configure()
        return node

    @property
    def secret_file(self) -> Path:
        return self._folder / "api.secret"

    @property
    def api(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self._port('API')}/http"

    @property
    def peer_address(self) -> str:
        """Where other nodes reach this one, with its peer id."""
        peer = self._config()["Identity"]["PeerID"]
        return f"/ip4/127.0.0.1/tcp/{self._port('Swarm')}/p2p/{peer}"

    @property
    def command(self) -> list[str]:
        """What runs the daemon, for those who keep processes of their own."""
        return [str(self._binary), "daemon", "--migrate=false"]

    @property
    def environment(self) -> dict[str, str]:
        """The daemon's whole environment."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self._folder),
            "IPFS_PATH": str(self._folder),
            "LIBP2P_FORCE_PNET": "1",
            "IPFS_TELEMETRY": "off",
        }

    @property
    def pid(self) -> int | None:
        """The running daemon's process id."""
        return self._process.pid if self._process else None

    def befriend(self, others: Sequence[KuboNode]) -> None:
        """Keep connected with these nodes, from the next start on."""
        config = self._config()
        addresses = [other.peer_address for other in others if other is not self]
        config["Peering"] = {
            "Peers": [
                {"ID": address.rpartition("/")[2], "Addrs": [address.rpartition("/p2p/")[0]]}
                for address in addresses
            ]
        }
        self._write_config(config)

    def start(self) -> None:
        """Start the daemon and wait until its RPC port answers.

        Raises:
            MedFabricError: ``TOOL_FAILED`` with the end of its log.
        """
        with (self._folder / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise self._failed("does not start", self._folder / "daemon.log")
            time.sleep(0.05)
        self._meet_friends()

    def stop(self) -> None:
        """Stop the daemon, if it runs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def store(self, *, timeout: float = 60.0) -> KuboStore:
        """A store over this node."""
        return KuboStore(self.api, self.secret_file.read_text(), timeout=timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _configure(self) -> None:
        config = self._config()
        api, swarm = _free_ports(2)
        secret = self.secret_file.read_text()
        config["Addresses"] = {
            "API": f"/ip4/127.0.0.1/tcp/{api}",
            "Swarm": [f"/ip4/127.0.0.1/tcp/{swarm}"],
            "Gateway": [],
            "Announce": [],
            "AppendAnnounce": [],
            "NoAnnounce": [],
        }
        config["API"] = {
            "Authorizations": {
                "medfabric": {"AuthSecret": f"bearer:{secret}", "AllowedPaths": ["/api/v0"]}
            }
        }
        config["Bootstrap"] = []
        config["AutoConf"] = {"Enabled": False}
        config["AutoTLS"] = {"Enabled": False}
        config["DNS"] = {"Resolvers": {}}
        config["Discovery"] = {"MDNS": {"Enabled": False}}
        config["Ipns"] = {}
        config["Plugins"] = {"Plugins": {"telemetry": {"Disabled": True}}}
        config["Provide"] = {"Enabled": False}
        config["Routing"] = {"Type": "none", "DelegatedRouters": []}
        config["Swarm"] = {
            "DisableNatPortMap": True,
            "RelayClient": {"Enabled": False},
            "RelayService": {"Enabled": False},
            "EnableHolePunching": False,
            # A private network works over TCP alone.
            "Transports": {
                "Network": {
                    "QUIC": False,
                    "WebTransport": False,
                    "WebRTCDirect": False,
                    "Websocket": False,
                    "Relay": False,
                }
            },
        }
        self._write_config(config)

    def _port(self, which: str) -> int:
        address = self._config()["Addresses"][which]
        first = address[0] if isinstance(address, list) else address
        return int(str(first).rpartition("/")[2])

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self._folder / "config").read_bytes())
        return config

    def _write_config(self, config: dict[str, Any]) -> None:
        # It holds the node's private key and the bearer secret.
        write_whole(self._folder / "config", json.dumps(config, indent=1).encode(), mode=0o600)

    def answers(self) -> bool:
        """Whether the daemon's RPC port answers."""
        return self._asks("id")

    def _asks(self, path: str) -> bool:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port('API')}/api/v0/{path}",
            method="POST",
            headers={"Authorization": f"Bearer {self.secret_file.read_text()}"},
        )
        try:
            with _OPENER.open(request, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _meet_friends(self) -> None:
        # Kubo itself takes seconds before it first looks for them; who is not up yet, finds us.
        for friend in self._config().get("Peering", {}).get("Peers") or ():
            address = f"{friend['Addrs'][0]}/p2p/{friend['ID']}"
            self._asks(f"swarm/connect?arg={urllib.parse.quote(address)}")

    def _ipfs(self, *arguments: str) -> None:
        done = subprocess.run(
            [self._binary, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            why = done.stderr.decode(errors="replace").strip()[-500:]
            raise MedFabricError(
                Code.TOOL_FAILED, f"ipfs {arguments[0]} in {self._folder} failed: {why}"
            )

    def _failed(self, what: str, log: Path) -> MedFabricError:
        end = log.read_bytes()[-800:].decode(errors="replace").strip()
        return MedFabricError(
            Code.TOOL_FAILED, f"the IPFS node in {self._folder} {what}; its log ends: {end}"
        )


# The machine's HTTP proxy has no business with a port of our own.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [int(held.getsockname()[1]) for held in sockets]
    finally:
        for held in sockets:
            held.close()
