"""Native processes: found again by id and start time, stopped, killed, never mistaken."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaincode.schema.errors import Code, MedFabricError
from network.base import wait_until
from network.processes import Processes, Spec


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "run", tmp_path / "logs")
    yield made
    for name in ("one", "two", "stubborn", "brief"):
        made.kill(name)


def test_a_started_process_is_found_by_whoever_opens_the_folder(
    processes: Processes, tmp_path: Path
) -> None:
    processes.start(_waiting("one", tmp_path))

    again = Processes(tmp_path / "run", tmp_path / "logs")

    assert again.pid("one") == processes.pid("one") is not None
    assert again.memory_kb("one") > 0


def test_a_running_process_is_not_started_twice(processes: Processes, tmp_path: Path) -> None:
    processes.start(_waiting("one", tmp_path))
    first = processes.pid("one")

    processes.start(_waiting("one", tmp_path))

    assert processes.pid("one") == first


def test_it_leads_a_session_of_its_own(processes: Processes, tmp_path: Path) -> None:
    processes.start(_waiting("one", tmp_path))

    pid = processes.pid("one")

    assert pid is not None
    assert os.getsid(pid) == pid


def test_a_stopped_process_is_gone_and_starts_again(processes: Processes, tmp_path: Path) -> None:
    processes.start(_waiting("one", tmp_path))
    first = processes.pid("one")

    processes.stop("one")

    assert processes.pid("one") is None
    processes.start(_waiting("one", tmp_path))
    assert processes.pid("one") not in (None, first)


def test_a_process_that_does_not_heed_is_ended_by_force(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("network.processes._STOP_SECONDS", 0.3)
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); signal.pause()"
    )
    processes.start(Spec("stubborn", [sys.executable, "-c", code], {}, tmp_path))
    wait_until(lambda: "deaf" in processes.tail("stubborn"), "the process being deaf", 10)

    processes.stop("stubborn")

    assert processes.pid("stubborn") is None


def test_all_are_told_before_any_is_waited_for(processes: Processes, tmp_path: Path) -> None:
    lines = {
        "first": "signal.signal(15, signal.SIG_IGN)",
        "second": "signal.signal(15, lambda *_: Path('told').touch())",
    }
    for name, line in lines.items():
        code = f"import signal, time; from pathlib import Path; {line}; print('up', flush=True)\n"
        code += "while not Path('told').exists(): time.sleep(0.01)\nprint('ended', flush=True)"
        processes.start(Spec(name, [sys.executable, "-c", code], {}, tmp_path))
        wait_until(lambda name=name: "up" in processes.tail(name), "the process being up", 10)  # type: ignore[misc]

    processes.stop("first", "second")

    for name in lines:
        assert processes.pid(name) is None
        assert "ended" in processes.tail(name)


def test_a_killed_process_leaves_the_others(processes: Processes, tmp_path: Path) -> None:
    for name in ("one", "two"):
        processes.start(_waiting(name, tmp_path))

    processes.kill("one")

    assert processes.pid("one") is None
    assert processes.pid("two") is not None


def test_a_recycled_process_id_is_not_taken_for_ours(processes: Processes, tmp_path: Path) -> None:
    processes.start(_waiting("one", tmp_path))
    record = tmp_path / "run" / "two.json"
    record.write_text(json.dumps({"pid": processes.pid("one"), "started": 1}))

    processes.kill("two")

    assert processes.pid("two") is None
    assert processes.pid("one") is not None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": "x", "started": 1}', "null"])
def test_a_damaged_record_is_no_process(processes: Processes, tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "one.json").write_text(content)

    assert processes.pid("one") is None


def test_the_end_of_the_log_is_in_the_error(processes: Processes, tmp_path: Path) -> None:
    code = "print('first'); print('the reason')"
    processes.start(Spec("brief", [sys.executable, "-c", code], {}, tmp_path))
    wait_until(lambda: processes.pid("brief") is None, "its end", 10)

    with pytest.raises(MedFabricError, match="the reason") as failure:
        processes.require_running("brief")

    assert failure.value.code == Code.NOT_HEALTHY
    assert processes.tail("brief", 1) == "the reason"


def test_of_a_process_that_was_killed_before_it_said_anything_that_is_told(
    processes: Processes, tmp_path: Path
) -> None:
    processes.start(Spec("silent", ["sleep", "60"], {}, tmp_path))
    processes.kill("silent")

    with pytest.raises(MedFabricError, match="silent has ended; it said nothing"):
        processes.require_running("silent")


def test_of_a_panic_the_words_are_told_and_not_the_stacks(
    processes: Processes, tmp_path: Path
) -> None:
    stack = "".join(f"main.f{number}()\\n" for number in range(40))
    code = f"print('panic: port taken\\n\\ngoroutine 1 [running]:\\n{stack}')"
    processes.start(Spec("brief", [sys.executable, "-c", code], {}, tmp_path))
    wait_until(lambda: processes.pid("brief") is None, "its end", 10)

    with pytest.raises(MedFabricError) as error:
        processes.require_running("brief")

    assert error.value.message.endswith("panic: port taken")


def test_only_harmless_variables_are_passed_on(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_SHELL", "hidden")
    code = "import os; print(sorted(os.environ), os.environ['OURS'])"
    spec = Spec("brief", [sys.executable, "-c", code], {"OURS": "given"}, tmp_path)

    processes.start(spec)
    wait_until(lambda: processes.pid("brief") is None, "its end", 10)

    assert "given" in processes.tail("brief")
    assert "A_SECRET_OF_THE_SHELL" not in processes.tail("brief")


def test_waiting_ends_with_an_error_that_names_what_did_not_come() -> None:
    with pytest.raises(MedFabricError, match="the moon") as failure:
        wait_until(lambda: False, "the moon", 0.1)

    assert failure.value.code == Code.NOT_HEALTHY


def _waiting(name: str, folder: Path) -> Spec:
    return Spec(name, [sys.executable, "-c", "import signal; signal.pause()"], {}, folder)
