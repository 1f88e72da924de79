"""Log lines are JSON to the last one."""

import json
import subprocess
import sys

PROGRAM = """
import logging.config, threading, warnings
from chassis import logs
logging.config.dictConfig(logs.configuration("INFO"))
logs.log_what_is_uncaught()
class Broken:
    def __del__(self):
        raise ValueError("ignored")
def fail():
    raise ValueError("in a thread")
warnings.warn("odd")
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
Broken()
raise ValueError("last")
"""


def test_warnings_and_uncaught_exceptions_are_json_with_their_tracebacks():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert ["odd" in lines[0]["message"], lines[0]["level"]] == [True, "WARNING"]
    assert [line["message"].split(":")[0] for line in lines[1:]] == [
        "Uncaught exception in thread worker", "Exception ignored in", "Uncaught exception",
    ]  # fmt: skip
    for line, text in zip(lines[1:], ("in a thread", "ignored", "last"), strict=True):
        assert line["exc_info"].splitlines()[-1] == f"ValueError: {text}"
