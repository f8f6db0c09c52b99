"""Updates of a channel's configuration: computed, signed by, judged and carried out.

A configuration is a tree of groups, values and policies; each element has a version and names the
policy by which it may be modified. An update says what it was made from (its read set) and what is
to stand (its write set). The rules are those of Fabric's orderers and peers (docs: "Channel
configuration").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from client.audit import policy
from client.audit.channel import Channel
from client.audit.msp import Identity, IdentityRefusedError

ROOT = "Channel"
ADMINS = "Admins"
_MEMBERS = ("groups", "values", "policies")
_CONTENTS = {"values": ("value",), "policies": ("policy",)}
_NAME = re.compile(r"[a-zA-Z0-9.-]{1,249}")

Key = tuple[str, tuple[str, ...]]
"""Kind of an element (one of groups, values, policies) and its path from the root."""
Elements = Mapping[Key, Any]


class UpdateRefusedError(Exception):
    """An update that no orderer takes; the text says why."""


def compute(
    original: configtx_pb2.Config, updated: configtx_pb2.Config, channel_id: str
) -> configtx_pb2.ConfigUpdate:
    """The update that makes one configuration from another: what changed, and no more.

    Versions in ``updated`` do not count; they follow from ``original``.

    Raises:
        UpdateRefusedError: there is no difference.
    """
    update = configtx_pb2.ConfigUpdate(channel_id=channel_id)
    changed = _compare(
        original.channel_group, updated.channel_group, update.read_set, update.write_set
    )
    if not changed:
        raise UpdateRefusedError("it changes nothing")
    return update


def propose(
    channel: Channel, channel_id: str, envelope: common_pb2.Envelope
) -> configtx_pb2.ConfigEnvelope:
    """The configuration that an envelope of type CONFIG_UPDATE makes of the present one.

    Raises:
        UpdateRefusedError: it cannot be read, was made from another configuration, or lacks
            signatures that the policies in force ask for.
    """
    update, signers = _read(channel, envelope)
    if update.channel_id != channel_id:
        raise UpdateRefusedError(f"it is for channel {update.channel_id!r}")

    def agreed(path: str) -> bool:
        try:
            return channel.satisfies(path, signers)
        except (policy.UnsupportedPolicyError, DecodeError, IndexError) as error:
            raise UpdateRefusedError(f"policy {path}: {error}") from None

    config = apply(channel.config, update, agreed)
    return configtx_pb2.ConfigEnvelope(config=config, last_update=envelope)


def apply(
    config: configtx_pb2.Config, update: configtx_pb2.ConfigUpdate, agreed: Callable[[str], bool]
) -> configtx_pb2.Config:
    """What an update makes of a configuration.

    Args:
        agreed: whether those who signed satisfy the policy at a path; asked for every element that
            the update modifies.

    Raises:
        UpdateRefusedError: it was made from another configuration, or is not agreed to.
    """
    current = elements(config.channel_group)
    read = elements(update.read_set) if update.HasField("read_set") else {}
    for key, element in read.items():
        if key not in current or current[key].version != element.version:
            raise UpdateRefusedError(f"{_text(key)} is not as the update found it")
    write = elements(update.write_set) if update.HasField("write_set") else {}
    changed = {
        key: element
        for key, element in write.items()
        if key not in read or read[key].version != element.version
    }
    if not changed:
        raise UpdateRefusedError("it changes nothing")
    for key, element in changed.items():
        _check_change(key, current.get(key), element, agreed)
    whole = {**current, **changed}
    missing = write.keys() - whole.keys()
    if missing:
        raise UpdateRefusedError(f"{_text(min(missing))} would not be in the result")
    group = configtx_pb2.ConfigGroup()
    _assemble(group, (ROOT,), whole)
    return configtx_pb2.Config(sequence=config.sequence + 1, channel_group=group)


def follow(channel: Channel, channel_id: str, content: bytes) -> Channel:
    """The channel as the ``ConfigEnvelope`` of a config transaction makes it.

    Raises:
        UpdateRefusedError: it is not what its update makes of the present configuration.
        ValueError: the new configuration is not understood here.
    """
    try:
        found = configtx_pb2.ConfigEnvelope.FromString(content)
    except DecodeError:
        raise UpdateRefusedError("it cannot be read") from None
    size = found.ByteSize()
    found.DiscardUnknownFields()
    if found.ByteSize() != size:
        raise UpdateRefusedError("it holds fields that are not known")
    expected = propose(channel, channel_id, found.last_update)
    if found.config != expected.config:
        raise UpdateRefusedError("its configuration is not what its update yields")
    return succeed(channel, found.config)


def succeed(channel: Channel, config: configtx_pb2.Config) -> Channel:
    """The channel with its next configuration, where that may follow the present one.

    Raises:
        UpdateRefusedError: a hospital would take another MSP id.
        ValueError: the new configuration is not understood here.
    """
    following = Channel(config)
    for place, msp_id in channel.msp_ids.items():
        if following.msp_ids.get(place, msp_id) != msp_id:
            raise UpdateRefusedError(f"{'/'.join(place)} takes another MSP id")
    return following


def elements(group: configtx_pb2.ConfigGroup) -> dict[Key, Any]:
    """All elements of a tree.

    Raises:
        UpdateRefusedError: a name is not one that Fabric takes.
    """
    found: dict[Key, Any] = {}
    _collect(group, (ROOT,), found)
    return found


def signed_content(update: bytes, signature_header: bytes) -> bytes:
    """What a hospital's admin signs to agree to an update."""
    return signature_header + update


def _compare(original: Any, updated: Any, read: Any, write: Any) -> bool:
    """Fill the two sets of a group; whether it differs."""
    members_differ, changed = False, False
    same: list[tuple[str, str]] = []
    for kind in _MEMBERS:
        before, after = getattr(original, kind), getattr(updated, kind)
        members_differ |= set(before) != set(after)
        for name in sorted(after):
            if name not in before:
                _added(after[name], getattr(write, kind)[name])
            elif _differs(kind, name, original, updated, read, write):
                changed = True
            else:
                same.append((kind, name))
    read.version = write.version = original.version
    if not members_differ and original.mod_policy == updated.mod_policy:
        return changed
    # A group whose members change is written whole: what stays is named by its version.
    for kind, name in same:
        version = getattr(original, kind)[name].version
        for part in (read, write):
            getattr(part, kind)[name].version = version
    write.version = original.version + 1
    write.mod_policy = updated.mod_policy
    return True


def _differs(kind: str, name: str, original: Any, updated: Any, read: Any, write: Any) -> bool:
    before, after = getattr(original, kind)[name], getattr(updated, kind)[name]
    if kind == "groups":
        inner_read, inner_write = configtx_pb2.ConfigGroup(), configtx_pb2.ConfigGroup()
        if not _compare(before, after, inner_read, inner_write):
            return False
        read.groups[name].CopyFrom(inner_read)
        write.groups[name].CopyFrom(inner_write)
        return True
    fields = ("mod_policy", *_CONTENTS[kind])
    if all(getattr(before, field) == getattr(after, field) for field in fields):
        return False
    getattr(write, kind)[name].CopyFrom(after)
    getattr(write, kind)[name].version = before.version + 1
    return True


def _added(element: Any, into: Any) -> None:
    into.CopyFrom(element)
    for part in (into, *_inner(into)):
        part.version = 0


def _inner(element: Any) -> Iterator[Any]:
    if isinstance(element, configtx_pb2.ConfigGroup):
        for kind in _MEMBERS:
            for member in getattr(element, kind).values():
                yield member
                yield from _inner(member)


def _read(
    channel: Channel, envelope: common_pb2.Envelope
) -> tuple[configtx_pb2.ConfigUpdate, list[Identity]]:
    try:
        payload = common_pb2.Payload.FromString(envelope.payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        signed = configtx_pb2.ConfigUpdateEnvelope.FromString(payload.data)
        update = configtx_pb2.ConfigUpdate.FromString(signed.config_update)
        headers = [
            common_pb2.SignatureHeader.FromString(signature.signature_header)
            for signature in signed.signatures
        ]
    except DecodeError:
        raise UpdateRefusedError("it cannot be read") from None
    if header.type != common_pb2.HeaderType.CONFIG_UPDATE:
        raise UpdateRefusedError("it is no update of a configuration")
    signers = []
    for signature, about in zip(signed.signatures, headers, strict=True):
        try:
            signer = channel.members.identity(about.creator)
        except IdentityRefusedError:
            continue
        content = signed_content(signed.config_update, signature.signature_header)
        if signer.verify(content, signature.signature):
            signers.append(signer)
    return update, signers


def _check_change(
    key: Key, present: Any | None, element: Any, agreed: Callable[[str], bool]
) -> None:
    parts = element.mod_policy.removeprefix("/").split("/")
    if not all(_named(part) for part in parts):
        raise UpdateRefusedError(f"{_text(key)} would have no policy to modify it by")
    if present is None:
        if element.version:
            raise UpdateRefusedError(f"{_text(key)} is new, but not of version 0")
        return
    if element.version != present.version + 1:
        raise UpdateRefusedError(f"{_text(key)} does not follow version {present.version}")
    path = _policy_path(key, present.mod_policy)
    if not agreed(path):
        raise UpdateRefusedError(f"too few agree to change {_text(key)}, which asks for {path}")


def _policy_path(key: Key, mod_policy: str) -> str:
    if mod_policy.startswith("/"):
        return mod_policy
    kind, path = key
    # A policy's name is meant inside the group; a group's own, inside itself.
    group = path if kind == "groups" else path[:-1]
    return "/" + "/".join((*group, mod_policy))


def _collect(group: Any, path: tuple[str, ...], found: dict[Key, Any]) -> None:
    found["groups", path] = group
    for kind in _MEMBERS:
        for name, member in getattr(group, kind).items():
            if not _named(name):
                raise UpdateRefusedError(f"{name!r} is no name in a configuration")
            if kind == "groups":
                _collect(member, (*path, name), found)
            else:
                found[kind, (*path, name)] = member


def _assemble(into: Any, path: tuple[str, ...], whole: Elements) -> None:
    group = _member("groups", path, whole)
    into.version, into.mod_policy = group.version, group.mod_policy or ADMINS
    for kind in _MEMBERS:
        for name in getattr(group, kind):
            member = getattr(into, kind)[name]
            if kind == "groups":
                _assemble(member, (*path, name), whole)
                continue
            member.CopyFrom(_member(kind, (*path, name), whole))
            member.mod_policy = member.mod_policy or ADMINS


def _member(kind: str, path: tuple[str, ...], whole: Elements) -> Any:
    if (kind, path) not in whole:
        raise UpdateRefusedError(f"{'/'.join(path)} would be missing in the result")
    return whole[kind, path]


def _named(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name not in (".", "..")


def _text(key: Key) -> str:
    return "/".join(key[1])
