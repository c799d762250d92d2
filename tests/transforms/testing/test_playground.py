from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import requests

_ROOT = Path(__file__).parents[3]


def test_a_playground_is_broken_and_repaired_by_words_and_ends_when_told(tmp_path):
    folder = tmp_path / "ground"
    words = [sys.executable, "-m", "transforms.testing.playground", f"--folder={folder}"]
    with subprocess.Popen(words, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def say(line: str) -> str:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        while "stop everything" not in process.stdout.readline():
            assert process.poll() is None
        env = dict(line.removeprefix("export ").split("=", 1) for line in (folder / "env").read_text().splitlines())
        endpoint = env["COS_ENDPOINT"].strip("'")
        assert requests.get(endpoint, timeout=10).status_code == 403
        assert say("cos off") == "The bucket does not answer."
        with pytest.raises(requests.ConnectionError):
            requests.get(endpoint, timeout=10)
        assert say("cos on") == "The bucket answers."
        assert requests.get(endpoint, timeout=10).status_code == 403
        assert say("token off") == "The role may not consume."
        assert say("token on") == "The role may consume."
        assert Path(env["TOKEN_FILE"].strip("'")).stat().st_mode & 0o077 == 0
        process.stdin.write("quit\n")
        process.stdin.flush()
        assert process.wait(60) == 0
