from __future__ import annotations

import pytest

from tests.pipelines.backups import Bucket, arguments, assert_sentences_only, refused, run_process
from tests.pipelines.producing import numbered, send
from transforms.testing.pulsar_admin import AdminError


@pytest.mark.parametrize(
    "options", [[], ["--subscription=backup"], ["--start=latest"], ["--start=2026-01-01T00:00:00Z"]]
)
@pytest.mark.parametrize("admin", [False, True])
def test_a_topic_that_does_not_exist_is_refused_and_not_created(broker, topic, bucket, options, admin):
    neighbour = topic(partitions=2)
    namespace = neighbour.removeprefix("persistent://").rpartition("/")[0]
    before = broker.admin.topics(namespace)
    assert before
    extra = [f"--admin_url={broker.admin_url}"] if admin else []
    run = refused(broker, f"persistent://{namespace}/mistyped", bucket, *options, *extra)
    assert run.code == 4
    assert f"persistent://{namespace}/mistyped: no such topic, and a backup creates none" in run.errors
    assert broker.admin.topics(namespace) == before
    assert bucket.everything() == []


def test_a_partition_that_does_not_exist_is_refused_and_not_created(broker, topic, bucket):
    name = topic(partitions=2)
    namespace = name.removeprefix("persistent://").rpartition("/")[0]
    before = broker.admin.topics(namespace)
    run = refused(broker, f"{name}-partition-7", bucket)
    assert run.code == 4
    assert "no such topic" in run.errors
    assert broker.admin.topics(namespace) == before


def test_one_missing_topic_among_several_reads_nothing(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(3))
    run = refused(broker, [name, f"{name}-mistyped"], bucket)
    assert run.code == 4
    assert bucket.everything() == []


@pytest.mark.parametrize("name", ["test/no-such-namespace/topic", "no-such-tenant/namespace/topic"])
def test_a_namespace_or_tenant_that_does_not_exist_is_refused(broker, bucket, name):
    run = refused(broker, name, bucket)
    assert run.code in (3, 4)
    assert f"persistent://{name}" in run.errors
    assert bucket.everything() == []
    with pytest.raises(AdminError):
        broker.admin.topics(name.rpartition("/")[0])


def test_all_wrong_options_are_reported_at_once(broker, bucket):
    options = [
        "--start=yesterday",
        "--end=2026-01-01T00:00:00",
        "--granularity=5",
        "--max_file_messages=0",
        "--max_file_bytes=much",
        "--memory_budget=1MB",
        "--format=parquet",
        "--path_template={nonsense}",
        "--timezone=Mars/Olympus",
        "--acknowledge=after-upload",
        "--token=secret",
        "--bogus=1",
    ]
    run = run_process(arguments(broker, "topic", bucket, options))
    assert run.code == 2
    assert_sentences_only(run.errors)
    for option in options:
        assert option.partition("=")[0] in run.errors, option
    assert "secret" not in run.errors
    assert all(line.startswith("error: ") for line in run.errors.splitlines()), run.errors
    assert bucket.server.requests.total() == 0


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--start=12:34:56:78", "--start=12:34:56:78"),
        ("--start=1700000000", "milliseconds"),
        ("--start=2026-11-22T09:45:00", "needs a zone"),
        ("--start=subscription", "needs --subscription"),
        ("--granularity=25h", "--granularity=25h"),
        ("--granularity=0s", "--granularity=0s"),
        ("--codec=lzma", "lzma"),
        ("--payload=json", "--format=jsonl"),
        ("--topic=a/b/c/d://e", "not a topic"),
        ("--max_file_message=3", "Did you mean --max_file_messages?"),
        ("--runner=SparkRunner", "SparkRunner"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_exit_code_2(broker, topic, bucket, option, sentence):
    run = refused(broker, topic(), bucket, option)
    assert run.code == 2
    assert sentence in run.errors
    assert len(run.errors.splitlines()) == 1


def test_exit_code_0_of_a_process(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(3))
    run = run_process(arguments(broker, name, bucket, []))
    assert run.code == 0, run.errors
    assert run.summary["messages"] == 3


def test_exit_code_4_of_a_process_with_one_sentence(broker, topic, bucket):
    topic(partitions=1)
    run = run_process(arguments(broker, topic(), bucket, []))
    assert run.code == 4
    assert_sentences_only(run.errors)
    assert sum(line.startswith("error: ") for line in run.errors.splitlines()) == 1


def test_exit_code_5_of_a_process_with_one_sentence(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(3))
    missing = Bucket(bucket.server)
    argv = [option.replace("test-1250000000", "absent-1250000000") for option in arguments(broker, name, missing, [])]
    run = run_process(argv)
    assert run.code == 5
    assert_sentences_only(run.errors)
    assert "absent-1250000000" in run.errors


def test_exit_code_3_of_a_process_for_a_wrong_key(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(3))
    run = run_process(arguments(broker, name, bucket, []), {"COS_SECRET_ID": "AKIDtest", "COS_SECRET_KEY": "wrong-key"})
    assert run.code == 3
    assert_sentences_only(run.errors)
    assert "wrong-key" not in run.errors


def test_exit_code_2_without_any_key(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(3))
    run = run_process(arguments(broker, name, bucket, []), {})
    assert run.code in (2, 3)
    assert_sentences_only(run.errors)
    assert "COS_SECRET_ID" in run.errors
