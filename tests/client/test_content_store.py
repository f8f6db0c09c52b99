"""Content stores give exactly what a reference names, or say why not."""

from __future__ import annotations

import errno
import filecmp
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.errors import Code, MedFabricError
from client.content import DirectoryStore, KuboStore, cid_of
from client.content.kubo import KuboNode, find_kubo, new_swarm_key
from client.content.store import CHUNK_BYTES

STORE = "from client.content import DirectoryStore; import sys; store = DirectoryStore(sys.argv[1])"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> DirectoryStore:
    return DirectoryStore(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(tmp_path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def files(store: DirectoryStore) -> list[Path]:
    return sorted(store._folder.iterdir())


def code(action) -> str:
    with pytest.raises(MedFabricError) as caught:
        action()
    return caught.value.code


@settings(max_examples=50)
@given(st.binary(max_size=4096))
def test_content_comes_back(shared, content):
    ref = shared.put(content)

    assert shared.get(ref) == content
    assert ref.cid == cid_of(ref.sha256)


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=512), st.data())
def test_any_flipped_bit_is_found(shared, content, data):
    ref = shared.put(content)
    path = shared._folder / ref.cid
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)

    assert code(lambda: shared.get(ref)) == Code.CONTENT_TAMPERED
    shared.put(content)
    assert shared.get(ref) == content


@pytest.mark.parametrize("tampered", [b"", b"content, and more", b"conten"])
def test_another_length_is_found(store, tampered):
    ref = store.put(b"content")
    files(store)[0].write_bytes(tampered)

    assert code(lambda: store.get(ref)) == Code.CONTENT_TAMPERED


def test_a_reference_with_a_wrong_size_is_refused(store):
    ref = store.put(b"content").model_copy(update={"size_bytes": 8})

    assert code(lambda: store.get(ref)) == Code.CONTENT_TAMPERED


def test_missing_content_is_named(store):
    ref = store.put(b"content")
    files(store)[0].unlink()

    assert code(lambda: store.get(ref)) == Code.CONTENT_MISSING


def test_a_cid_leads_nowhere_but_to_the_hash(store, tmp_path):
    ref = store.put(b"content")
    (store._folder / "secret").write_bytes(b"content")

    assert store.get(ref.model_copy(update={"cid": "secret"})) == b"content"


def test_files_go_in_and_out(store, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"model")

    store.get_file(store.put_file(tmp_path / "model.bin"), tmp_path / "copy.bin")

    assert (tmp_path / "copy.bin").read_bytes() == b"model"
    assert code(lambda: store.put_file(tmp_path / "nowhere")) == Code.FILE_UNUSABLE


def test_content_goes_in_and_out_in_chunks(store):
    ref = store.put_stream(iter([b"a model", b"", b" in pieces"]))

    assert store.get(ref) == b"a model in pieces"
    assert ref == store.put(b"a model in pieces")
    assert b"".join(store.get_stream(ref)) == b"a model in pieces"


@pytest.mark.parametrize("end", [b"x", b"yz", b""])
def test_tampered_content_is_never_given_whole(store, end):
    content = os.urandom(3 * CHUNK_BYTES - 1) + b"y"
    ref = store.put(content)
    files(store)[0].write_bytes(content[:-1] + end)
    given = []

    assert code(lambda: given.extend(store.get_stream(ref))) == Code.CONTENT_TAMPERED

    assert 0 < sum(map(len, given)) < len(content)


def test_tampered_content_never_becomes_a_file(store, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"the old model")
    ref = store.put(b"content")
    files(store)[0].write_bytes(b"c0ntent")

    assert code(lambda: store.get_file(ref, tmp_path / "model.bin")) == Code.CONTENT_TAMPERED

    assert (tmp_path / "model.bin").read_bytes() == b"the old model"
    assert {path.name for path in tmp_path.iterdir()} == {"model.bin", "store"}


def test_a_source_that_breaks_off_leaves_nothing(store):
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.EIO, "the disk is broken")

    assert code(lambda: store.put_stream(broken())) == Code.FILE_UNUSABLE
    assert files(store) == []


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from client.content import DirectoryStore
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 24_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
folder = Path(sys.argv[1])
store = DirectoryStore(folder / "store")
ref = store.put_file(folder / "large")
store.get_file(ref, folder / "copy")
try:
    store.get(ref)
except MemoryError:
    print(ref.size_bytes)
"""


def test_content_larger_than_memory_goes_in_and_out(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.write(b"not all zeros")
        file.truncate(100_000_000)

    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, tmp_path], capture_output=True, text=True, check=False
    )

    # Reading it whole is what does not fit: the limit holds.
    assert done.stdout.strip() == "100000000", done.stderr
    assert filecmp.cmp(tmp_path / "large", tmp_path / "copy", shallow=False)


NO_ROOM = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""


def test_a_full_disk_leaves_nothing_half_written(store):
    # The child sets the limit itself: a fork that runs code first would take grpc's threads along.
    done = subprocess.run(
        [sys.executable, "-c", f"{NO_ROOM}{STORE}; store.put(bytes(200_000))", store._folder],
        capture_output=True,
        text=True,
        check=False,
    )

    assert Code.STORE_FULL in done.stderr
    assert files(store) == []


def test_a_kill_while_writing_leaves_no_readable_half(store):
    # Large enough that the kill comes while bytes are being written.
    program = f"{STORE}; print('go', flush=True); store.put(bytes(400_000_000))"
    child = subprocess.Popen([sys.executable, "-c", program, store._folder], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    while not any(path.stat().st_size for path in store._folder.iterdir()):
        os.sched_yield()
    child.kill()
    child.wait()
    child.stdout.close()

    assert all(path.name.startswith(".partial-") for path in files(store))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    assert code(lambda: DirectoryStore(tmp_path / "file" / "store")) == Code.STORE_FAILED


def test_an_address_that_is_none_is_named():
    assert code(lambda: KuboStore("127.0.0.1:5001", "secret")) == Code.STORE_FAILED


def test_an_ipfs_node_that_is_down_is_named():
    store = KuboStore("/ip4/127.0.0.1/tcp/1/http", "secret", timeout=2)

    assert code(lambda: store.put(b"content")) == Code.STORE_UNREACHABLE


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    binary = _kubo()
    folder, key = tmp_path_factory.mktemp("kubo"), new_swarm_key()
    first, second = (KuboNode.create(folder / name, binary, key) for name in ("a", "b"))
    second.befriend([first])
    with first, second:
        yield first, second


def _kubo() -> Path:
    found = find_kubo()
    if found is None:
        pytest.skip("Kubo is not here: put `ipfs` on the PATH")
    return found


@pytest.mark.parametrize("size", [0, 5, 600_000])
def test_content_travels_between_hospitals_ipfs_nodes(nodes, size):
    first, second = nodes
    content = os.urandom(size)

    ref = first.store().put(content)

    assert second.store().get(ref) == content


def test_large_files_travel_between_hospitals_ipfs_nodes(nodes, tmp_path):
    first, second = nodes
    (tmp_path / "large").write_bytes(os.urandom(9 * CHUNK_BYTES + 5))

    ref = first.store().put_file(tmp_path / "large")
    second.store().get_file(ref, tmp_path / "copy")

    assert filecmp.cmp(tmp_path / "large", tmp_path / "copy", shallow=False)


@pytest.mark.parametrize("size", [4 * CHUNK_BYTES - 1, 4 * CHUNK_BYTES, 4 * CHUNK_BYTES + 1])
def test_ipfs_content_of_another_length_is_refused(nodes, size):
    store = nodes[0].store()
    ref = store.put(bytes(size))

    for wrong in (size - 1, size + 1):
        false = ref.model_copy(update={"size_bytes": wrong})
        assert code(lambda ref=false: store.get(ref)) == Code.CONTENT_TAMPERED
    assert store.get(ref) == bytes(size)


def test_threads_share_an_ipfs_store(nodes):
    store = nodes[0].store()
    contents = [os.urandom(1000 * number) for number in range(1, 33)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda content: store.get(store.put(content)), contents))
    store.close()

    assert found == contents
    assert store.get(store.put(b"opened anew")) == b"opened anew"
    store.close()


def test_ipfs_names_one_block_as_we_do(nodes):
    ref = nodes[0].store().put(b"one block")

    assert ref.cid == cid_of(ref.sha256)


def test_ipfs_content_that_is_not_the_ledgers_is_refused(nodes):
    store = nodes[0].store()
    other = store.put(b"something else")
    ref = store.put(b"the content").model_copy(update={"cid": other.cid})

    assert code(lambda: store.get(ref)) == Code.CONTENT_TAMPERED


def test_ipfs_content_that_nobody_has_is_missing(nodes):
    ref = nodes[0].store().put(b"x").model_copy(update={"cid": cid_of("00" * 32)})

    assert code(lambda: nodes[0].store(timeout=1).get(ref)) == Code.CONTENT_MISSING


def test_the_ipfs_port_demands_its_secret(nodes):
    assert code(lambda: KuboStore(nodes[0].api, "guess").put(b"x")) == Code.STORE_FAILED
    assert nodes[0].secret_file.stat().st_mode & 0o077 == 0
