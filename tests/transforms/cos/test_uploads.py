from __future__ import annotations

import threading
import time

import pytest

from tests.transforms.cos.joining import META, join
from tests.transforms.cos.joining import uploads as uploads_under_way
from transforms.cos.retry import RetryPolicy
from transforms.cos.uploads import Uploads, results
from transforms.testing.cos_faults import ALWAYS


def test_uploads_run_at_once_up_to_the_bytes_that_fit():
    uploads, together = Uploads(max_bytes=100), threading.Barrier(2)
    futures = [uploads.submit(50, together.wait) for _ in range(2)]
    assert sorted(results(futures)) == [0, 1]
    uploads.close()


def test_submitting_waits_until_memory_is_free():
    uploads, go, entered = Uploads(max_bytes=100), threading.Event(), threading.Event()
    first = uploads.submit(80, go.wait)
    second = []
    thread = threading.Thread(target=lambda: (entered.set(), second.append(uploads.submit(30, lambda: "ran"))))
    thread.start()
    entered.wait()
    assert not second
    assert not first.done()
    go.set()
    thread.join()
    assert results(second) == ["ran"]
    uploads.close()


def test_work_larger_than_the_budget_runs_alone():
    uploads = Uploads(max_bytes=10)
    assert uploads.submit(1000, lambda: "ran").result() == "ran"
    uploads.close()


def test_work_starts_only_after_what_it_waits_for_and_fails_with_it():
    uploads = Uploads(max_bytes=10)

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        uploads.submit(1, lambda: "never", after=[uploads.submit(1, fail)])
    uploads.close()


def test_what_waits_and_what_comes_fails_with_the_first_until_a_new_beginning():
    uploads, go, ran = Uploads(max_bytes=100, workers=1), threading.Event(), []

    def fail() -> None:
        go.wait()
        raise OSError("disk full")

    first, second = uploads.submit(1, fail), uploads.submit(1, lambda: ran.append(1))
    go.set()
    with pytest.raises(OSError, match="disk full"):
        first.result()
    with pytest.raises(OSError, match="disk full"):
        second.result()
    with pytest.raises(OSError, match="disk full"):
        uploads.submit(1, lambda: ran.append(2))
    assert not ran
    uploads.begin()
    assert uploads.submit(1, lambda: "ran").result() == "ran"
    uploads.close()


@pytest.mark.parametrize("operation", ["PutObject", "UploadPartCopy", "CompleteMultipartUpload", "DeleteObject"])
def test_a_request_is_not_tried_again_once_other_work_has_failed(server, make_store, parts, operation):
    server.faults.add("503", operation=operation, times=ALWAYS)
    store = make_store(policy=RetryPolicy(deadline=20.0, first_wait=20.0, longest_wait=20.0))
    uploads = Uploads(max_bytes=10)

    def fail() -> None:
        while not server.faults.played:
            time.sleep(0.01)
        raise OSError("disk full")

    def work() -> None:
        store.put("backup/other", b"hello", META)
        join(store, parts)
        store.delete_parts(parts[0])

    futures = [uploads.submit(1, work), uploads.submit(1, fail)]
    for future in futures:
        with pytest.raises(OSError, match="disk full"):
            future.result()
    assert uploads_under_way(server) == []
    uploads.close()


def test_a_failure_is_raised_when_all_have_ended():
    uploads, ended, begun = Uploads(max_bytes=10), threading.Event(), threading.Event()

    def fail() -> None:
        begun.wait()
        raise OSError("disk full")

    def slow() -> None:
        begun.set()
        ended.wait(1)
        ended.set()

    futures = [uploads.submit(1, fail), uploads.submit(1, slow)]
    with pytest.raises(OSError, match="disk full"):
        results(futures)
    assert all(future.done() for future in futures)
    uploads.close()
