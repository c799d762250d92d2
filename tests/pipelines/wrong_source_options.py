"""Options of the source that are wrong in themselves, or do not go together."""

from __future__ import annotations

from tests.pipelines.wrong_inputs import Case

CASES = [
    Case(
        "service_url without scheme",
        2,
        ["--service_url=127.0.0.1:6650"],
        [
            "--service_url=127.0.0.1:6650: must begin with pulsar://, pulsar+ssl://, http:// or https://, such as pulsar://127.0.0.1:6650."
        ],
    ),
    Case(
        "service_url of another system",
        2,
        ["--service_url=amqp://127.0.0.1"],
        [
            "--service_url=amqp://127.0.0.1: must begin with pulsar://, pulsar+ssl://, http:// or https://, such as pulsar://127.0.0.1:6650."
        ],
    ),
    Case(
        "service_url without host",
        2,
        ["--service_url=pulsar://"],
        ["--service_url 'pulsar://' has no usable host in '': write host:port."],
    ),
    Case(
        "service_url with a port that is none",
        2,
        ["--service_url=pulsar://127.0.0.1:port"],
        ["--service_url 'pulsar://127.0.0.1:port' has no usable host in '127.0.0.1:port': write host:port."],
    ),
    Case(
        "service_url with a password",
        2,
        ["--service_url=pulsar://me:hidden@127.0.0.1"],
        ["--service_url must hold neither user nor password. Give the role's key in --token."],
    ),
    Case(
        "admin_url without scheme",
        2,
        ["--admin_url=127.0.0.1:8080"],
        ["--admin_url=127.0.0.1:8080: must begin with http:// or https://."],
    ),
    Case(
        "a topic with too many parts",
        2,
        ["--topic=http://a/b/c"],
        [
            "--topic=http://a/b/c: not a topic. Give a name, tenant/namespace/name or persistent://tenant/namespace/name."
        ],
    ),
    Case(
        "a topic that is not persistent",
        2,
        ["--topic=non-persistent://a/b/c"],
        [
            "--topic=non-persistent://a/b/c: not a topic. Give a name, tenant/namespace/name or persistent://tenant/namespace/name."
        ],
    ),
    Case(
        "an empty subscription",
        2,
        ["--subscription="],
        ["--subscription: is empty. Give a value, or leave the option out."],
    ),
    Case(
        "an empty listener name",
        2,
        ["--listener_name="],
        ["--listener_name: is empty. Give a value, or leave the option out."],
    ),
    Case(
        "a start that is nothing",
        2,
        ["--start=yesterday"],
        [
            "--start=yesterday: neither earliest, latest, subscription, nor a date-time such as 2026-11-22T09:45:00Z, nor a message id such as 1234:56 or 1234:56:7."
        ],
    ),
    Case(
        "a start without zone",
        2,
        ["--start=2026-11-22T09:45:00"],
        [
            "--start=2026-11-22T09:45:00: a date-time needs a zone, such as 2026-11-22T09:45:00Z or 2026-11-22T09:45:00+08:00."
        ],
    ),
    Case(
        "a start in seconds",
        2,
        ["--start=1795340700"],
        [
            "--start=1795340700: epoch times are milliseconds, and this one lies before 1973. Did you mean 1795340700000?"
        ],
    ),
    Case(
        "a start at a subscription that is not named",
        2,
        ["--start=subscription"],
        ["--start=subscription needs --subscription: the one whose place is meant."],
    ),
    Case(
        "an end that is nothing",
        2,
        ["--end=never"],
        [
            "--end=never: neither now, nor a date-time such as 2026-11-22T09:45:00Z, nor a message id such as 1234:56 or 1234:56:7."
        ],
    ),
    Case(
        "an end before the start",
        2,
        ["--start=2026-11-22T10:00:00Z", "--end=2026-11-22T09:00:00Z"],
        ["--start=2026-11-22T10:00:00Z is not before --end=2026-11-22T09:00:00Z: there is nothing between them."],
    ),
    Case(
        "an end id before the start id",
        2,
        ["--start=9:1", "--end=8:1"],
        ["--start=9:1 is behind --end=8:1: there is nothing between them."],
    ),
    Case(
        "a token in place of a reference",
        2,
        ["--token=eyJhbGciOiJIUzI1NiJ9.e30.hidden"],
        ["--token: not a reference. Give env:NAME (a variable of the environment) or file:PATH."],
    ),
    Case(
        "a token's variable that is not set",
        2,
        ["--token=env:PULSAR_TOKEN"],
        ["--token=env:PULSAR_TOKEN: the variable PULSAR_TOKEN is not set, or is empty."],
    ),
    Case(
        "a token's file that is not there",
        2,
        ["--token=file:{folder}/nothing"],
        ["--token=file:{folder}/nothing: the file cannot be read: No such file or directory."],
    ),
    Case(
        "a token's file that is empty",
        2,
        ["--token=file:{folder}/empty"],
        ["--token=file:{folder}/empty: the file is empty."],
    ),
    Case(
        "a certificate without its key",
        2,
        ["--service_url=pulsar+ssl://{tls}", "--tls_cert={cert}"],
        ["--tls_cert and --tls_key go together: give both or neither."],
    ),
    Case(
        "a key without its certificate",
        2,
        ["--service_url=pulsar+ssl://{tls}", "--tls_key={key}"],
        ["--tls_cert and --tls_key go together: give both or neither."],
    ),
    Case(
        "trusted certificates that are not there",
        2,
        ["--service_url=pulsar+ssl://{tls}", "--tls_trust_certs={folder}/nothing"],
        ["--tls_trust_certs={folder}/nothing: no such file, or it cannot be read."],
    ),
    Case(
        "trusted certificates without TLS",
        2,
        ["--tls_trust_certs={ca}"],
        ["--tls_trust_certs: is of use with pulsar+ssl:// or https:// only. Write --service_url so, or leave it out."],
    ),
    Case(
        "acknowledge what is not offered",
        2,
        ["--acknowledge=sometimes"],
        ["--acknowledge=sometimes: choose one of after-upload, never."],
    ),
    Case(
        "acknowledge without subscription",
        2,
        ["--acknowledge=after-upload"],
        ["--acknowledge=after-upload needs --subscription: the one that is to be moved."],
    ),
    Case(
        "on_trimmed what is not offered",
        2,
        ["--on_trimmed=ignore"],
        ["--on_trimmed=ignore: choose one of fail, continue."],
    ),
    Case(
        "a compacted view that would be acknowledged",
        2,
        ["--read_compacted", "--subscription=backup"],
        [
            "--read_compacted leaves out all but the last message of a key, and what is not stored may not be acknowledged. Add --acknowledge=never, or leave out --subscription."
        ],
    ),
]
