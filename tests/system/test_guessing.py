"""Password guessing at all workers at once."""

import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from tests.processes import children
from tests.system.stack import Stack, until


def guess(stack: Stack, username: str) -> int:
    return stack.ask("POST", "/api/login", {"username": username, "password": "wrong"}).status


def test_workers_share_the_count_of_failures_with_new_workers(stack: Stack) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(lambda _: guess(stack, "Anybody"), range(48)))
    seconds = time.monotonic() - began
    assert set(statuses) == {401, 429}
    # Five tries are free. Waits of 1, 2, 4, … seconds may have passed during the test.
    assert 5 <= statuses.count(401) <= 5 + math.log2(1 + seconds)
    until(lambda: guess(stack, "anybody") == 401, 10, "the wait is over")
    for worker in children(stack.master("gateway")):
        os.kill(worker, signal.SIGKILL)

    def status() -> int:
        try:
            return guess(stack, "ANYBODY")
        except OSError:
            return 0

    first = until(status, 20, "the gateway responds again")
    # The wait may be over by now, but there are not five free tries again.
    assert 429 in {first, guess(stack, "anybody")}


def test_a_rejected_login_has_retry_after_and_other_users_sign_in(stack: Stack) -> None:
    wrong = {"username": "someone", "password": "wrong"}
    while (reply := stack.ask("POST", "/api/login", wrong)).status == 401:
        pass
    assert (reply.status, reply.json["status"], reply.json["origin"]) == (429, 429, "gateway")
    assert int(reply.headers["Retry-After"]) >= 1
    assert stack.login("user", "u")
