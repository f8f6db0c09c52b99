"""A node's folder: whole files, owner-only secrets, one process at a time."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import MedFabricError
from trainer.node.home import Home


def test_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    first = home.secret("plan", lambda: b"first")
    second = home.secret("plan", lambda: b"second")

    assert first == second == b"first"
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "home" / "plans").rglob("*")
        if path.is_file()
    }
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)

    with pytest.raises(MedFabricError, match="MF-9101"):
        Home(tmp_path)

    home.close()
    Home(tmp_path).close()


def test_record_survives_and_damage_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ref = ContentRef(cid="abc", sha256="0" * 64, size_bytes=3)

    assert home.record("plan", "update-1", ContentRef) is None
    home.keep("plan", "update-1", ref)

    assert home.record("plan", "update-1", ContentRef) == ref
    (tmp_path / "plans" / "plan" / "update-1.json").write_text('{"cid":')
    with pytest.raises(MedFabricError, match="MF-9102"):
        home.record("plan", "update-1", ContentRef)


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "outbox").write_text("in the way of the folder")

    with pytest.raises(MedFabricError, match="MF-9103"):
        home.keep_content(b"content")


_WRITER = """
import sys
from pathlib import Path
from trainer.node.home import Home
home = Home(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    home.keep_content(number.to_bytes(4, "big") * 50_000)
"""


def test_killed_in_the_middle_of_writing_leaves_only_whole_files(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    outbox = tmp_path / "outbox"
    while not outbox.exists() or len(list(outbox.iterdir())) < 5:
        os.sched_yield()

    writer.send_signal(signal.SIGKILL)
    writer.wait()

    home = Home(tmp_path)
    whole = [path.name for path in outbox.iterdir() if not path.name.startswith(".partial")]
    assert len(whole) >= 4
    for name in whole:
        content = home.content(name)
        assert content is not None
        assert home.keep_content(content.read_bytes()) == name
