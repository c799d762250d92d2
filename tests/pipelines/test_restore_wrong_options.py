"""Every option of a restore that can be wrong in itself, and what is said of it."""

from __future__ import annotations

import pytest

from pipelines.restore_options import parse_restore
from pipelines.restore_parser import restore_parser
from transforms.errors import ConfigurationError
from transforms.restore.selection import Selection

RIGHT = {
    "--backup": "cos://backup-1250000000/pulsar/",
    "--cos_region": "ap-guangzhou",
    "--service_url": "pulsar://127.0.0.1:6650",
    "--target_topic": "orders-again",
}
CASES = {
    "nothing at all": (
        ["--backup", "--cos_region", "--service_url", "--target_topic"],
        [
            "--service_url is missing: the broker's address, such as pulsar://127.0.0.1:6650.",
            "--target_topic is missing: the topic into which messages are sent.",
            "--backup is missing: cos://BUCKET-APPID/PREFIX/ or file:///FOLDER/.",
        ],
    ),
    "a typing error": (["--partitions=3"], ["--partitions: no such option. Did you mean --partition?"]),
    "a place that is none": (
        ["--backup=s3://x/"],
        ["--backup=s3://x/ is neither cos://BUCKET-APPID/PREFIX/ nor file:///FOLDER/."],
    ),
    "a region that is none": (["--cos_region=x"], ["--cos_region=x is not a region id such as ap-guangzhou."]),
    "an endpoint that is none": (
        ["--cos_endpoint=x"],
        ["--cos_endpoint is not of the form http[s]://HOST[:PORT], such as http://127.0.0.1:9000."],
    ),
    "credentials that are no reference": (
        ["--cos_credentials=AKIDabc"],
        [
            "--cos_credentials: the reference to the COS credentials is of no known form. Use env (COS_SECRET_ID, "
            "COS_SECRET_KEY and, for a temporary key, COS_TOKEN), file:PATH (a file with those names as JSON or as "
            "NAME=VALUE lines) or cvm-role:NAME (the role of the machine)."
        ],
    ),
    "a deadline that is none": (
        ["--retry_deadline=soon"],
        ["--retry_deadline=soon: not a duration. Write it as 90s, 5m or 1h."],
    ),
    "a format that is none": (["--format=parquet"], ["--format=parquet is unknown: choose one of avro, jsonl."]),
    "a path without topic": (
        ["--path_template=all/"],
        ["--path_template=all/: must hold {topic}, or files of several topics could not be told apart."],
    ),
    "a topic that is none": (
        ["--topic=a//b"],
        ["--topic=a//b: not a topic. Give a name, tenant/namespace/name or persistent://tenant/namespace/name."],
    ),
    "one partition as topic": (
        ["--topic=orders-partition-1"],
        [
            "--topic=orders-partition-1: is one partition. Give the topic; --partition chooses one that is to be "
            "restored."
        ],
    ),
    "a target that is none": (
        ["--target_topic=non-persistent://a/b/c"],
        [
            "--target_topic=non-persistent://a/b/c: not a topic. Give a name, tenant/namespace/name or "
            "persistent://tenant/namespace/name."
        ],
    ),
    "a partition that is none": (
        ["--partition=first"],
        ["--partition=first: must be a whole number from 0 to 100000."],
    ),
    "a start that a backup does not have": (
        ["--start=latest"],
        ["--start=latest: a backup has none. Give earliest, a time, or a message id."],
    ),
    "an end without zone": (
        ["--end=2026-11-22T00:00:00"],
        [
            "--end=2026-11-22T00:00:00: a date-time needs a zone, such as 2026-11-22T00:00:00Z or "
            "2026-11-22T00:00:00+08:00."
        ],
    ),
    "a start behind the end": (
        ["--start=2026-11-22T00:00:00Z", "--end=2026-11-21T00:00:00Z"],
        ["--start=2026-11-22T00:00:00Z is not before --end=2026-11-21T00:00:00Z: there is nothing between them."],
    ),
    "an id without its partition": (
        ["--start=12:5"],
        ["--start or --end is a message id, which names a place in one partition: give that one as --partition."],
    ),
    "a window's start that is an id": (
        ["--window_start=12:5"],
        ["--window_start=12:5: not a date-time such as 2026-11-22T09:45:00Z."],
    ),
    "a window's end that is none": (
        ["--window_end=tomorrow"],
        ["--window_end=tomorrow: not a date-time such as 2026-11-22T09:45:00Z."],
    ),
    "windows that end before they start": (
        ["--window_start=2026-11-22T00:00:00Z", "--window_end=2026-11-22T00:00:00Z"],
        [
            "--window_start=2026-11-22T00:00:00Z is not before --window_end=2026-11-22T00:00:00Z: no window starts "
            "between them."
        ],
    ),
    "an address that is none": (
        ["--service_url=127.0.0.1"],
        [
            "--service_url=127.0.0.1: must begin with pulsar://, pulsar+ssl://, http:// or https://, such as "
            "pulsar://127.0.0.1:6650."
        ],
    ),
    "an admin address that is none": (
        ["--admin_url=127.0.0.1"],
        ["--admin_url=127.0.0.1: must begin with http:// or https://."],
    ),
    "a token in place of its reference": (
        ["--token=eyJhbGciOiJIUzI1NiJ9.e30.x"],
        ["--token: not a reference. Give env:NAME (a variable of the environment) or file:PATH."],
    ),
    "a certificate without its key": (
        ["--tls_cert=/dev/null", "--tls_trust_certs=/not/there", "--service_url=pulsar+ssl://h"],
        [
            "--tls_cert and --tls_key go together: give both or neither.",
            "--tls_trust_certs=/not/there: no such file, or it cannot be read.",
        ],
    ),
    "a key without its certificate": (
        ["--tls_key=/dev/null", "--service_url=pulsar+ssl://h"],
        ["--tls_cert and --tls_key go together: give both or neither."],
    ),
    "trusted certificates for an address without TLS": (
        ["--tls_trust_certs=/dev/null"],
        ["--tls_trust_certs: is of use with pulsar+ssl:// or https:// only. Write --service_url so, or leave it out."],
    ),
    "an empty listener": (
        ["--listener_name="],
        ["--listener_name: is empty. Give a value, or leave the option out."],
    ),
    "a topic that is created by nobody": (
        ["--create_topic=3"],
        ["--create_topic needs --admin_url: topics are created by admin REST only."],
    ),
    "partitions that are no number": (
        ["--create_topic=many", "--admin_url=http://127.0.0.1:8080"],
        ["--create_topic=many: must be a whole number from 0 to 100000."],
    ),
    "a routing that is none": (["--routing=random"], ["--routing=random: choose one of auto, partition, key."]),
    "a hash that is none": (["--key_hash=md5"], ["--key_hash=md5: choose one of java, murmur3."]),
    "schemas that are none": (["--schemas=all"], ["--schemas=all: choose one of recorded, none."]),
    "an answer to what cannot be": (
        ["--on_unrestorable=ask"],
        ["--on_unrestorable=ask: choose one of fail, skip."],
    ),
    "a rate of nothing": (["--rate=0"], ["--rate=0: must be a whole number from 1 to 100000000."]),
    "a rate in apples": (
        ["--rate_bytes=5 apples"],
        ["--rate_bytes=5 apples: not a size. Write it as 500MB or 256MiB."],
    ),
    "a runner that is none": (
        ["--runner=SparkRunner"],
        ["--runner=SparkRunner: choose one of DirectRunner, FlinkRunner, PortableRunner."],
    ),
    "a level that is none": (
        ["--log_level=LOUD"],
        ["--log_level=LOUD: choose one of DEBUG, INFO, WARNING, ERROR."],
    ),
    "a log format that is none": (["--log_format=xml"], ["--log_format=xml: choose one of text, json."]),
    "a summary in no folder": (
        ["--summary_file=/not/there/x.json"],
        ["--summary_file=/not/there/x.json: there is no folder /not/there. Create it, or name another one."],
    ),
    "a stream": (["--streaming"], ["--streaming: a restore has an end. Leave it out."]),
    "an option without its value": (["--key"], ["--key: needs a value. --help lists the options."]),
    "a parallelism that is none, on Flink": (
        ["--runner=FlinkRunner", "--environment_type=LOOPBACK", "--parallelism=0"],
        ["--parallelism=0: not a number from 1 on."],
    ),
}


def given(changes: list[str]) -> list[str]:
    """The command line of a restore that works, changed; a name alone of those that are needed takes it away."""
    names = {change.partition("=")[0] for change in changes}
    kept = [f"{name}={value}" for name, value in RIGHT.items() if name not in names]
    return [*kept, *(change for change in changes if change not in RIGHT)]


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said(case: str) -> None:
    changes, sentences = CASES[case]
    with pytest.raises(ConfigurationError) as caught:
        parse_restore(given(changes))
    assert caught.value.problems == tuple(sentences)
    assert caught.value.exit_code == 2


def test_every_option_that_has_a_value_is_given_wrong_once() -> None:
    given_wrong = {change.partition("=")[0] for changes, _ in CASES.values() for change in changes}
    wanted = {
        name
        for action in restore_parser()._actions
        for name in action.option_strings
        if action.nargs != 0 and len(name) > 2
    }
    assert wanted <= given_wrong | {"--help"}


def test_what_is_right_is_read() -> None:
    config = parse_restore(
        given(["--key=a", "--key=b", "--partition=0", "--rate_bytes=2MB", "--no_origin", "--start=5:6", "--end=5:7:1"])
    )
    assert config.selection == Selection(
        start=config.selection.start, end=config.selection.end, partitions=frozenset({0}), keys=frozenset("ab")
    )
    assert (config.selection.start.message, config.selection.end.behind) == ((5, 6, 0), (5, 7, 2))
    assert (config.target_topic, config.rate_bytes, config.origin) == (
        "persistent://public/default/orders-again",
        2_000_000,
        False,
    )
