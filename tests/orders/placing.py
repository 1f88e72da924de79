"""A client as a process of its own: `python -m tests.orders.placing PORT USER_ID PASSPORT SEED COUNT`.

Places COUNT orders with the keys `key-0` to `key-COUNT-1` in an order of its own, each until it is answered with 201 or
an unexpected status, and prints each response as JSON.
"""

import json
import random
import sys
from http.client import HTTPConnection
from typing import Any


def main(port: str, user_id: str, passport: str, seed: str, count: str) -> dict[str, Any]:
    client = HTTPConnection("127.0.0.1", int(port), timeout=30)
    names = [f"key-{number}" for number in range(int(count))]
    random.Random(int(seed)).shuffle(names)
    answers = {}
    for name in names:
        headers = {"Authorization": f"Bearer {passport}", "Request-User-Id": user_id, "Idempotency-Key": f'"{name}"'}
        headers["Content-Type"] = "application/json"
        while True:
            client.request("POST", "/api/orders", json.dumps({"item": name, "address": "x"}), headers)
            answer = client.getresponse()
            body = answer.read().decode()
            if answer.status != 409:
                break
        answers[name] = [answer.status, answer.getheader("Location"), answer.getheader("ETag"), body]
    client.close()
    return answers


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))  # noqa: T201
