"""The process of a run that does what its rule's description says, without a broker: ``quick_child RUN_ID … …``.

Writes ``begin`` and ``end`` with its rule's name to the file ``QUICK_LOG``, if there is one.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from pipelines.rules.records import RunState
from pipelines.rules.store import RuleStore, this_holder


def _note(word: str, rule: str) -> None:
    if path := os.environ.get("QUICK_LOG"):
        with open(path, "a") as file:
            file.write(f"{word} {rule}\n")


def main() -> int:
    store = RuleStore()
    record = store.run(sys.argv[1])
    rule = store.get(record.rule_name).rule
    what, _, value = (rule.description or "").partition(" ")
    print(f"I am {rule.name}", file=sys.stderr, flush=True)
    if what == "silent":
        return int(value)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    store.renew(record.id, holder=this_holder())
    _note("begin", rule.name)
    if what == "hang":
        time.sleep(600)
    time.sleep(0.1)
    _note("end", rule.name)
    if what == "fail":
        store.end(record.id, RunState.FAILED, exit_code=int(value), error="It is broken. Mend it.")
        return int(value)
    store.end(record.id, RunState.SUCCEEDED, exit_code=0, messages=7, files=2, bytes=100)
    return 0


if __name__ == "__main__":
    sys.exit(main())
