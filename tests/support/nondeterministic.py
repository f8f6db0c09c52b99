"""Contracts that break the rules of determinism, one each. Peers would not agree on them.

``# rule:`` names what the lint must find in a line; ``lint only`` marks what two interpreters on
one machine do not show.
"""

from __future__ import annotations

import locale
import math
import os
import random
import secrets
import socket
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path

from chaincode.framework import Context, Info, Router, transaction
from chaincode.schema.base import Language

NAMES = ("alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine")


class Value(Language):
    """What a transaction wrote."""

    text: str


def write(context: Context, value: object) -> Value:
    made = Value(text=str(value))
    context.put(("value", ()), made)
    return made


class Clock:
    @transaction("bad:Clock", roles=())
    def run(self, context: Context) -> Value:
        return write(context, time.time_ns())


class LocalTime:
    @transaction("bad:LocalTime", roles=())
    def run(self, context: Context) -> Value:
        return write(context, datetime.fromtimestamp(context.now))


class Chance:
    @transaction("bad:Chance", roles=())
    def run(self, context: Context) -> Value:
        return write(context, random.random())


class Secret:
    @transaction("bad:Secret", roles=())
    def run(self, context: Context) -> Value:
        return write(context, secrets.token_hex())


class Unique:
    @transaction("bad:Unique", roles=())
    def run(self, context: Context) -> Value:
        return write(context, uuid.uuid4())


class Hash:
    @transaction("bad:Hash", roles=())
    def run(self, context: Context) -> Value:
        return write(context, hash("oak"))  # rule: builtin


class Address:
    @transaction("bad:Address", roles=())
    def run(self, context: Context) -> Value:
        return write(context, id(context))  # rule: builtin


class SetOrder:
    @transaction("bad:SetOrder", roles=())
    def run(self, context: Context) -> Value:
        names = set(NAMES)
        return write(context, ",".join(names))  # rule: set


class SetLoop:
    @transaction("bad:SetLoop", roles=())
    def run(self, context: Context) -> Value:
        text = ""
        for name in frozenset(NAMES) - {"oak"}:  # rule: set
            text += name
        return write(context, text)


class SetPop:
    @transaction("bad:SetPop", roles=())
    def run(self, context: Context) -> Value:
        names = _names()
        return write(context, ",".join(names.pop() for _ in range(6)))  # rule: set


class SetReads:
    """The same writes, but keys are read in another order."""

    @transaction("bad:SetReads", roles=())
    def run(self, context: Context) -> Value:
        for name in _names():  # rule: set
            context.find(("tree", (name,)), Value)
        return write(context, "read")


class Memory:
    """Another transaction before it changes the outcome."""

    def __init__(self) -> None:
        self._calls = 0

    @transaction("bad:Memory", roles=())
    def run(self, context: Context) -> Value:
        self._calls += 1  # rule: memory
        return write(context, self._calls)


class Environment:
    @transaction("bad:Environment", roles=())
    def run(self, context: Context) -> Value:
        return write(context, os.environ.get("TZ"))


class Processors:
    @transaction("bad:Processors", roles=())
    def run(self, context: Context) -> Value:
        return write(context, len(os.sched_getaffinity(0)))


class Folder:
    @transaction("bad:Folder", roles=())
    def run(self, context: Context) -> Value:
        return write(context, Path.cwd())


class File:
    @transaction("bad:File", roles=())
    def run(self, context: Context) -> Value:
        with open("/proc/self/stat") as file:  # rule: builtin  # noqa: PTH123
            return write(context, file.read())


class Network:
    @transaction("bad:Network", roles=())
    def run(self, context: Context) -> Value:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return write(context, server.getsockname())


class Threads:
    @transaction("bad:Threads", roles=())
    def run(self, context: Context) -> Value:
        return write(context, threading.get_ident())


class Place:
    """lint only: the same locale is installed for both interpreters."""

    @transaction("bad:Place", roles=())
    def run(self, context: Context) -> Value:
        return write(context, locale.getlocale())


class Division:
    """lint only: both interpreters divide alike."""

    @transaction("bad:Division", roles=())
    def run(self, context: Context) -> Value:
        return write(context, context.now / 3)  # rule: float


class Literal:
    """lint only"""

    @transaction("bad:Literal", roles=())
    def run(self, context: Context) -> Value:
        return write(context, int(context.now * 0.1))  # rule: float


class Power:
    """lint only"""

    @transaction("bad:Power", roles=())
    def run(self, context: Context) -> Value:
        return write(context, 10**-3)  # rule: float


class Logarithm:
    """lint only"""

    @transaction("bad:Logarithm", roles=())
    def run(self, context: Context) -> Value:
        return write(context, math.log(context.now))  # rule: float


def _names() -> set[str]:
    return set(NAMES)


CONTRACTS = (
    Clock,
    LocalTime,
    Chance,
    Secret,
    Unique,
    Hash,
    Address,
    SetOrder,
    SetLoop,
    SetPop,
    SetReads,
    Memory,
    Environment,
    Processors,
    Folder,
    File,
    Network,
    Threads,
    Place,
    Division,
    Literal,
    Power,
    Logarithm,
)


def chaincode() -> Router:
    """All of them."""
    return Router([contract() for contract in CONTRACTS], Info("Bad", "1"))
