"""Updates of a configuration: computed as Fabric's configtxlator does, judged as Fabric does."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import configtx_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import tools
from client.audit import configtx

NAMES = st.sampled_from(["Admins", "Hospital1MSP", "MSP", "a-b.c"])
VERSIONS = st.integers(0, 5)
POLICIES = st.sampled_from(["Admins", "/Channel/Admins", "Other"])


@st.composite
def groups(draw: st.DrawFn, depth: int = 2) -> Any:
    group = configtx_pb2.ConfigGroup(version=draw(VERSIONS), mod_policy=draw(POLICIES))
    for name in draw(st.sets(NAMES, max_size=3)):
        group.values[name].version = draw(VERSIONS)
        group.values[name].mod_policy = draw(POLICIES)
        group.values[name].value = draw(st.sampled_from([b"", b"one", b"two"]))
    for name in draw(st.sets(NAMES, max_size=3)):
        group.policies[name].version = draw(VERSIONS)
        group.policies[name].mod_policy = draw(POLICIES)
        group.policies[name].policy.value = draw(st.sampled_from([b"", b"one", b"two"]))
    if depth:
        for name in draw(st.sets(NAMES, max_size=3)):
            group.groups[name].CopyFrom(draw(groups(depth - 1)))
    return group


CONFIGS = st.builds(
    lambda group, sequence: configtx_pb2.Config(channel_group=group, sequence=sequence),
    groups(),
    st.integers(0, 9),
)


def _content(group: Any) -> Any:
    """A tree without its versions."""
    bare = configtx_pb2.ConfigGroup()
    bare.CopyFrom(group)
    for element in configtx.elements(bare).values():
        element.version = 0
    return bare


def _always(path: str) -> bool:
    return True


@given(original=CONFIGS, updated=CONFIGS)
def test_computed_update_makes_the_one_configuration_from_the_other(original, updated):
    if _content(original.channel_group) == _content(updated.channel_group):
        with pytest.raises(configtx.UpdateRefusedError):
            configtx.compute(original, updated, "channel")
        return

    update = configtx.compute(original, updated, "channel")
    result = configtx.apply(original, update, _always)

    assert result.sequence == original.sequence + 1
    assert _content(result.channel_group) == _content(updated.channel_group)
    before = configtx.elements(original.channel_group)
    for key, element in configtx.elements(result.channel_group).items():
        if key not in before:
            assert element.version == 0
            continue
        kind, _ = key
        inner = ("groups", "values", "policies") if kind == "groups" else ()
        same = element.mod_policy == before[key].mod_policy and all(
            set(getattr(element, k)) == set(getattr(before[key], k)) for k in inner
        )
        if kind != "groups":
            content = "value" if kind == "values" else "policy"
            same = same and getattr(element, content) == getattr(before[key], content)
        assert element.version == before[key].version + (not same)


@given(original=CONFIGS, updated=CONFIGS)
def test_update_is_carried_out_once_and_only_where_all_that_it_changes_is_agreed_to(
    original, updated
):
    try:
        update = configtx.compute(original, updated, "channel")
    except configtx.UpdateRefusedError:
        return
    asked: list[str] = []

    def noting(path: str) -> bool:
        asked.append(path)
        return True

    result = configtx.apply(original, update, noting)

    for refused in set(asked):
        with pytest.raises(configtx.UpdateRefusedError, match="too few"):
            configtx.apply(original, update, lambda path, no=refused: path != no)
    if asked:
        with pytest.raises(configtx.UpdateRefusedError):
            configtx.apply(result, update, _always)


def test_policies_are_meant_where_the_element_stands():
    original = configtx_pb2.Config()
    root = original.channel_group
    root.mod_policy = "Admins"
    inner = root.groups["Application"].groups["Hospital1MSP"]
    root.groups["Application"].mod_policy = "Admins"
    inner.mod_policy = "Admins"
    inner.values["MSP"].mod_policy = "Admins"
    root.values["Capabilities"].mod_policy = "/Channel/Orderer/Admins"
    updated = configtx_pb2.Config()
    updated.CopyFrom(original)
    group = updated.channel_group
    group.groups["Application"].groups["Hospital1MSP"].values["MSP"].value = b"new"
    group.groups["Application"].groups["Hospital1MSP"].values["Other"].mod_policy = "Admins"
    group.values["Capabilities"].value = b"new"
    group.values["Other"].mod_policy = "Admins"
    asked: set[str] = set()

    configtx.apply(
        original,
        configtx.compute(original, updated, "channel"),
        lambda path: asked.add(path) or True,
    )

    own = "/Channel/Application/Hospital1MSP/Admins"
    assert asked == {own, "/Channel/Admins", "/Channel/Orderer/Admins"}


def test_update_that_leaves_an_element_without_a_policy_is_refused():
    original = configtx_pb2.Config()
    original.channel_group.mod_policy = "Admins"
    update = configtx_pb2.ConfigUpdate()
    update.write_set.version = 1
    for wrong in ("", "/", "a//b", "../x", "x y"):
        update.write_set.mod_policy = wrong
        with pytest.raises(configtx.UpdateRefusedError, match="no policy"):
            configtx.apply(original, update, _always)


@pytest.mark.skipif(tools.find("configtxlator") is None, reason="configtxlator is not here")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(original=CONFIGS, updated=CONFIGS)
def test_update_is_the_one_that_configtxlator_computes(original, updated, tmp_path):
    try:
        ours = configtx.compute(original, updated, "channel")
    except configtx.UpdateRefusedError:
        return

    assert ours == _configtxlator(tmp_path, original, updated)


def _configtxlator(folder: Path, original: Any, updated: Any) -> Any:
    files = {name: folder / f"{name}.pb" for name in ("original", "updated", "output")}
    files["original"].write_bytes(original.SerializeToString())
    files["updated"].write_bytes(updated.SerializeToString())
    named = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    program = str(tools.find("configtxlator"))
    subprocess.run([program, "compute_update", "--channel_id", "channel", *named], check=True)
    return configtx_pb2.ConfigUpdate.FromString(files["output"].read_bytes())
