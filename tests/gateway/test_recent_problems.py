"""The last failed requests: all that is known of them, in two files of a fixed size."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from gateway import recent_problems
from gateway.policy.access import Identity
from gateway.policy.rejections import RateLimited
from gateway.recent_problems import RecentProblems, described


def problem(number: int, status: int = 502, **more: Any) -> dict[str, Any]:
    return {"request_id": f"request-{number}", "method": "GET", "path": "/x", "status": status} | more


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: Any) -> RecentProblems:
    monkeypatch.setattr(recent_problems, "ERRORS", 1_000_000)
    return RecentProblems(tmp_path / "problems.jsonl")


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["request_id"] for each in found]


def test_the_newest_come_first_and_one_is_found_by_its_request_id(kept: RecentProblems) -> None:
    assert kept.newest(5) == []
    for number in range(5):
        kept.record(problem(number))
    kept.record(problem(1, 503))
    assert ids(kept.newest(3)) == ["request-1", "request-4", "request-3"]
    assert [each["status"] for each in kept.of("request-1")] == [503, 502]
    assert kept.of("request-") == kept.of('request-1"') == kept.of("") == []
    assert kept.path.stat().st_mode & 0o777 == 0o600


def test_the_files_are_bounded_and_have_the_newest(kept: RecentProblems) -> None:
    kept.capacity = 20_000
    for number in range(1000):
        kept.record(problem(number, path="/" + "x" * 2000))
    files = sorted(kept.path.parent.iterdir())
    assert [file.name for file in files] == ["problems.jsonl", "problems.older.jsonl"]
    assert all(file.stat().st_size <= 20_000 for file in files)
    assert ids(kept.newest(40)) == [f"request-{number}" for number in range(999, 959, -1)]


def append(path: Path, first: int) -> None:
    kept = RecentProblems(path, capacity=40_000)
    recent_problems.ERRORS = 1_000_000  # type: ignore[misc]
    for number in range(first, first + 1000):
        kept.record(problem(number))


def test_workers_that_append_and_turn_at_once_leave_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append, args=(path, 1000 * number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = [json.loads(line) for file in path.parent.iterdir() for line in file.read_text().splitlines()]
    assert 300 < len(lines) <= 3000
    assert len({line["request_id"] for line in lines}) == len(lines)
    assert {int(line["request_id"].removeprefix("request-")) % 1000 for line in lines} & {999}


def test_a_flood_is_kept_in_part_and_rejections_do_not_displace_failures(tmp_path: Path, monkeypatch: Any) -> None:
    kept = RecentProblems(tmp_path / "problems.jsonl")
    monkeypatch.setattr(recent_problems.time, "time", lambda: 1_800_000_000.5)
    for number in range(1000):
        kept.record(problem(number, 401))
    kept.record(problem(1000, 503))
    found = kept.newest(2000)
    assert len(found) == recent_problems.REJECTIONS + 1
    assert found[0]["status"] == 503


def test_a_torn_line_and_a_full_disk_cost_nothing_else(kept: RecentProblems) -> None:
    kept.record(problem(1))
    with kept.path.open("a") as file:
        file.write('{"request_id": "request-2", "sta\n')
    kept.record(problem(3))
    assert ids(kept.newest(5)) == ["request-3", "request-1"]
    RecentProblems(kept.path / "no" / "folder").record(problem(4))


def test_a_rejection_is_described_with_its_policy_limits_and_user() -> None:
    rejected = RateLimited(2.0, ["per user"])
    rejected.identity, rejected.limits = Identity("7", "eva", "default", "s7"), ["per user", "in secret"]
    assert described(rejected) == {
        "code": "rate_limited",
        "detail": "Too many requests. Try again in 2 s.",
        "policy": "rate_limit",
        "limits": ["per user", "in secret"],
        "user_id": "7",
    }
    assert described(None) == {}
