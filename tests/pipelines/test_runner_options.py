from __future__ import annotations

from pipelines.options import parse_options
from pipelines.runner_options import given_options, runner_options, subtasks_of_a_worker, what_is_set

JOB = ["--service_url=pulsar://127.0.0.1:6650", "--topic=orders", "--destination=file:///backup/"]
FLINK = ["--runner=FlinkRunner", "--flink_master=http://127.0.0.1:8081", "--environment_type=EXTERNAL"]


def told(*options: str) -> dict[str, str]:
    return given_options(runner_options(parse_options([*JOB, *FLINK, *options]), "run"))


def test_options_are_read_in_both_spellings():
    assert given_options(["--a=1", "--b", "2", "--c", "--d="]) == {"a": "1", "b": "2", "c": "", "d": ""}


def test_a_stream_has_checkpoints_and_goes_on_for_ever():
    options = told("--streaming")
    assert options["streaming"] == options["finish_bundle_before_checkpointing"] == ""
    assert options["checkpointing_interval"] == "10000"
    assert "shutdown_sources_after_idle_ms" not in options


def test_a_run_with_an_end_is_a_streaming_job_that_ends_by_itself():
    options = told()
    assert (options["streaming"], options["shutdown_sources_after_idle_ms"]) == ("", "0")
    assert "checkpointing_interval" not in options


def test_what_is_given_counts_and_is_shown():
    given = ["--streaming", "--checkpointing_interval", "60000"]
    assert told(*given)["checkpointing_interval"] == "60000"
    assert "--checkpointing_interval=60000 --finish_bundle_before_checkpointing" in what_is_set(
        parse_options([*JOB, *FLINK, *given])
    )


def test_the_parallelism_is_told_unless_it_is_given():
    config = parse_options([*JOB, *FLINK])
    assert given_options(runner_options(config, "run", 3))["parallelism"] == "3"
    assert what_is_set(config, 3).startswith("--parallelism=3 ")
    given = parse_options([*JOB, *FLINK, "--parallelism=2", "--sdk_worker_parallelism=2"])
    assert given_options(runner_options(given, "run", 3))["parallelism"] == "2"


def test_subtasks_share_the_workers_of_a_task_manager():
    config = parse_options([*JOB, *FLINK])
    assert subtasks_of_a_worker(config, 4) == 4
    two = parse_options([*JOB, *FLINK, "--sdk_worker_parallelism=2"])
    assert [subtasks_of_a_worker(two, each) for each in (1, 2, 3, 4)] == [1, 1, 2, 2]
