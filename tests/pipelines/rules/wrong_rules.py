"""Rules that are wrong, and the sentences that each gives: on the command line, and in files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipelines.backups import SECRETS
from tests.pipelines.rules.asking import RIGHT, Said, ask, options

#: What a role's key looks like.
SECRET = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJiYWNrdXAifQ.c2lnbmF0dXJl"


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong with a rule that is right otherwise."""

    name: str
    sentences: Sequence[str]
    """The lines of the error; ``…`` stands for anything."""
    fields: Mapping[str, str | None] = field(default_factory=dict)
    """Given as options; None takes one away."""
    file: tuple[str, bytes] | None = None
    """Given as a file: its name, and what it holds."""
    rule: str = "orders"
    """Name of the rule."""
    words: Sequence[str] = ()
    """Further words of the command line."""


def play(case: Wrong, folder: Path, store: str) -> Said:
    """Make a rule as the case says."""
    given = {**RIGHT, **case.fields} if case.file is None else {}
    words = options({name: _filled(value, folder) for name, value in given.items() if value is not None})
    (folder / "here").write_text("a file that is there")
    if case.file is not None:
        path = folder / case.file[0]
        path.write_bytes(case.file[1])
        words.append(f"--file={path}")
    words += [_filled(word, folder) for word in case.words]
    environment = {"TDMQ_BACKUP_STORE": store, "ROLE_KEY": SECRET, **SECRETS}
    return ask("rule", "create", case.rule, *words, environment=environment)


def fits(case: Wrong, said: Said, folder: Path) -> bool:
    """Whether the exit code and all sentences are those of the case."""
    lines = said.errors.splitlines()
    patterns = [f"error: {_filled(each, folder)}" for each in case.sentences]
    return (
        said.code == 2
        and said.output == ""
        and len(lines) == len(patterns)
        and all(
            re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), line)
            for pattern, line in zip(patterns, lines, strict=True)
        )
    )


def _filled(text: str, folder: Path) -> str:
    return text.replace("{folder}", str(folder))


CASES = [
    Wrong(
        "a name that begins with a digit",
        ["name: '1orders': write letters, digits, - and _, a letter first, at most 64 of them."],
        rule="1orders",
    ),
    Wrong(
        "a name with a slash",
        ["name: 'shop/orders': write letters, digits, - and _, a letter first, at most 64 of them."],
        rule="shop/orders",
    ),
    Wrong(
        "a name that is too long",
        ["name: '…': write letters, digits, - and _, a letter first, at most 64 of them."],
        rule="a" * 65,
    ),
    Wrong(
        "a name that is a secret",
        ["name: '[hidden]': write letters, digits, - and _, a letter first, at most 64 of them."],
        rule=SECRET,
    ),
    Wrong(
        "a description with a control character",
        [
            "description: looks like a secret, or holds control characters. Secrets are given by reference: env:NAME or file:PATH."
        ],
        fields={"description": "a\x1b[2Jb"},
    ),
    Wrong("enabled perhaps", ["enabled: write yes or no."], fields={"enabled": "perhaps"}),
    Wrong(
        "a schedule that is none",
        [
            'schedule: \'hourly\': not a schedule. Write "every 15m", cron with five fields as "0 * * * *", or "continuous".'
        ],
        fields={"schedule": "hourly"},
    ),
    Wrong(
        "a schedule too quick",
        ["schedule: 'every 5s': turns are at least 10 s apart."],
        fields={"schedule": "every 5s"},
    ),
    Wrong(
        "a cron of four fields",
        [
            'schedule: \'0 * * *\': not a schedule. Write "every 15m", cron with five fields as "0 * * * *", or "continuous".'
        ],
        fields={"schedule": "0 * * *"},
    ),
    Wrong(
        "a cron of a minute that is none",
        [
            'schedule: \'61 * * * *\': not a schedule (Error validating expression \'61\': the last value (61) is higher than the maximum value (59)). Write "every 15m", cron with five fields as "0 * * * *", or "continuous".'
        ],
        fields={"schedule": "61 * * * *"},
    ),
    Wrong(
        "a cron of a day that never comes",
        ["schedule: '0 0 31 2 *': no day is ever like that."],
        fields={"schedule": "0 0 31 2 *"},
    ),
    Wrong(
        "continuous without Flink",
        ["schedule=continuous: needs Flink: set runner to FlinkRunner, and --flink_master=URL in runner_options."],
        fields={"schedule": "continuous"},
    ),
    Wrong("retries that are no number", ["retries: write a whole number from 0 to 20."], fields={"retries": "often"}),
    Wrong("retries below nought", ["retries: write a whole number from 0 to 20."], fields={"retries": "-1"}),
    Wrong("too many retries", ["retries: write a whole number from 0 to 20."], fields={"retries": "21"}),
    Wrong("a log kept for weeks", ["keep_log: '4w': write days, at least one, as 90d."], fields={"keep_log": "4w"}),
    Wrong("a log kept for no day", ["keep_log: '0d': write days, at least one, as 90d."], fields={"keep_log": "0d"}),
    Wrong(
        "no address",
        ["address: is missing: the cluster's address, such as pulsar://10.0.0.7:6650."],
        fields={"address": None},
    ),
    Wrong(
        "an address that is none",
        [
            "address=10.0.0.7:6650: must begin with pulsar://, pulsar+ssl://, http:// or https://, such as pulsar://127.0.0.1:6650."
        ],
        fields={"address": "10.0.0.7:6650"},
    ),
    Wrong(
        "an address with a password",
        [
            "address: looks like a secret, or holds control characters. Secrets are given by reference: env:NAME or file:PATH."
        ],
        fields={"address": "pulsar://me:hidden-word@10.0.0.7:6650"},
    ),
    Wrong(
        "an admin address that is none",
        ["admin_url=pulsar://10.0.0.7:8080: must begin with http:// or https://."],
        fields={"admin_url": "pulsar://10.0.0.7:8080"},
    ),
    Wrong(
        "no cluster",
        ["cluster: is missing: the cluster's id, or the tenant: the first part of a topic's name."],
        fields={"cluster": None},
    ),
    Wrong(
        "a cluster with a slash",
        [
            "cluster=pulsar-abc123/shop: is one part of a topic's name; cluster, namespace and topic are fields of their own."
        ],
        fields={"cluster": "pulsar-abc123/shop"},
    ),
    Wrong(
        "a namespace with a slash",
        [
            "namespace=pulsar-abc123/shop: is one part of a topic's name; cluster, namespace and topic are fields of their own."
        ],
        fields={"namespace": "pulsar-abc123/shop"},
    ),
    Wrong("no topic", ["topic: is missing: name at least one, or give topic_pattern."], fields={"topic": None}),
    Wrong(
        "a topic by its full name",
        [
            "topic=persistent://public/default/orders: is one part of a topic's name; cluster, namespace and topic are fields of their own."
        ],
        fields={"topic": "persistent://public/default/orders"},
    ),
    Wrong(
        "a pattern that is none",
        [
            "topic_pattern=public/default/orders-(: no regular expression (missing ), unterminated subpattern at position 7)."
        ],
        fields={"topic": None, "topic_pattern": "orders-("},
    ),
    Wrong(
        "no subscription",
        ["subscription: is missing: a rule needs one of its own, for which the broker keeps what is not stored yet."],
        fields={"subscription": None},
    ),
    Wrong(
        "a subscription of blanks",
        ["subscription: is missing: a rule needs one of its own, for which the broker keeps what is not stored yet."],
        fields={"subscription": " "},
    ),
    Wrong(
        "a start point that is none",
        [
            "start_point=yesterday: neither earliest, latest, subscription, nor a date-time such as 2026-11-22T09:45:00Z, nor a message id such as 1234:56 or 1234:56:7."
        ],
        fields={"start_point": "yesterday"},
    ),
    Wrong(
        "a start point without a zone",
        [
            "start_point=2026-11-22T00:00:00: a date-time needs a zone, such as 2026-11-22T00:00:00Z or 2026-11-22T00:00:00+08:00."
        ],
        fields={"start_point": "2026-11-22T00:00:00"},
    ),
    Wrong(
        "an end point that is none",
        [
            "end_point=tomorrow: neither now, nor a date-time such as 2026-11-22T09:45:00Z, nor a message id such as 1234:56 or 1234:56:7."
        ],
        fields={"end_point": "tomorrow"},
    ),
    Wrong(
        "an end before the start",
        [
            "start_point=2026-11-22T00:00:00Z is not before end_point=2026-11-21T00:00:00Z: there is nothing between them."
        ],
        fields={"start_point": "2026-11-22T00:00:00Z", "end_point": "2026-11-21T00:00:00Z"},
    ),
    Wrong(
        "an end of a schedule",
        ["end_point=2026-11-21T00:00:00Z: a schedule would find nothing more behind it. Leave out one of the two."],
        fields={"schedule": "every 15m", "end_point": "2026-11-21T00:00:00Z"},
    ),
    Wrong(
        "a key in place of its reference",
        [
            "role_key: looks like a secret, or holds control characters. Secrets are given by reference: env:NAME or file:PATH."
        ],
        fields={"role_key": SECRET},
    ),
    Wrong(
        "a key that is no reference",
        ["role_key: not a reference. Give env:NAME (a variable of the environment) or file:PATH."],
        fields={"role_key": "the-key-itself"},
    ),
    Wrong(
        "a key in a variable that is not set",
        ["role_key=env:NOT_SET: the variable NOT_SET is not set, or is empty."],
        fields={"role_key": "env:NOT_SET"},
    ),
    Wrong(
        "a key in a file that is not there",
        ["role_key=file:/no/such/file: the file cannot be read: No such file or directory."],
        fields={"role_key": "file:/no/such/file"},
    ),
    Wrong(
        "a key of another role",
        ["role=somebody: the key in role_key belongs to the role backup."],
        fields={"role": "somebody", "role_key": "env:ROLE_KEY"},
    ),
    Wrong(
        "a listener of blanks",
        ["listener_name: is empty. Give a value, or leave the option out."],
        fields={"listener_name": " "},
    ),
    Wrong(
        "certificates without TLS",
        ["tls_trust_certs: is of use with pulsar+ssl:// or https:// only. Write address so, or leave it out."],
        fields={"tls_trust_certs": "{folder}/here"},
    ),
    Wrong(
        "certificates that are not there",
        ["tls_trust_certs=/no/such/file: no such file, or it cannot be read."],
        fields={"address": "pulsar+ssl://127.0.0.1:1", "tls_trust_certs": "/no/such/file"},
    ),
    Wrong(
        "a certificate without its key",
        ["tls_cert and tls_key go together: give both or neither."],
        fields={"address": "pulsar+ssl://127.0.0.1:1", "tls_cert": "{folder}/here"},
    ),
    Wrong(
        "a key without its certificate",
        ["tls_cert and tls_key go together: give both or neither."],
        fields={"address": "pulsar+ssl://127.0.0.1:1", "tls_key": "{folder}/here"},
    ),
    Wrong(
        "a private key in place of its file",
        [
            "tls_key: looks like a secret, or holds control characters. Secrets are given by reference: env:NAME or file:PATH."
        ],
        fields={"address": "pulsar+ssl://127.0.0.1:1", "tls_key": "-----BEGIN PRIVATE KEY-----"},
    ),
    Wrong(
        "trimmed and what then", ["on_trimmed=ignore: choose one of fail, continue."], fields={"on_trimmed": "ignore"}
    ),
    Wrong("manifests or not", ["manifest=some: choose one of on, off."], fields={"manifest": "some"}),
    Wrong(
        "no bucket",
        ["bucket: is missing: NAME-APPID, or file:///FOLDER/ for a folder on this machine."],
        fields={"bucket": None, "region": None},
    ),
    Wrong(
        "a bucket as a URL",
        [
            "bucket=cos://backup-1250000000/: write NAME-APPID alone, or file:///FOLDER/; the folder in it is destination_path."
        ],
        fields={"bucket": "cos://backup-1250000000/"},
    ),
    Wrong(
        "a bucket with a folder",
        ["bucket=backup-1250000000/pulsar/: is the bucket's name alone; the folder in it is destination_path."],
        fields={"bucket": "backup-1250000000/pulsar/"},
    ),
    Wrong(
        "a bucket without its owner",
        [
            "bucket=cos://backup/ has no bucket of the form NAME-APPID, such as backup-1250000000: 'backup' is not (lower-case letters, digits and hyphens, and the account's APPID at the end)."
        ],
        fields={"bucket": "backup"},
    ),
    Wrong(
        "a folder that is no folder",
        [
            "bucket=file://tmp/backup/: write NAME-APPID alone, or file:///FOLDER/; the folder in it is destination_path."
        ],
        fields={"bucket": "file://tmp/backup/", "region": None},
    ),
    Wrong(
        "a folder with a region",
        [
            "bucket=file:///tmp/backup/ is a folder: region, cos_endpoint, storage class, encryption, ACL, tags and metadata are for cos:// only."
        ],
        fields={"bucket": "file:///tmp/backup/"},
    ),
    Wrong(
        "no region",
        [
            "region is missing, such as region=ap-guangzhou (one of ap-beijing, ap-chengdu, ap-guangzhou, ap-hongkong, ap-shanghai, ap-singapore, na-siliconvalley)."
        ],
        fields={"region": None},
    ),
    Wrong(
        "a region that is none",
        ["region=Guang zhou is not a region id such as ap-guangzhou."],
        fields={"region": "Guang zhou"},
    ),
    Wrong(
        "a path without its slash",
        ["destination_path=pulsar: is empty, or ends with / and does not begin with it."],
        fields={"destination_path": "pulsar"},
    ),
    Wrong(
        "a path that begins with a slash",
        ["destination_path=/pulsar/: is empty, or ends with / and does not begin with it."],
        fields={"destination_path": "/pulsar/"},
    ),
    Wrong(
        "an endpoint that is none",
        ["cos_endpoint is not of the form http[s]://HOST[:PORT], such as http://127.0.0.1:9000."],
        fields={"cos_endpoint": "127.0.0.1:9000"},
    ),
    Wrong(
        "credentials that are no reference",
        [
            "cos_credentials: the reference to the COS credentials is of no known form. Use env (COS_SECRET_ID, COS_SECRET_KEY and, for a temporary key, COS_TOKEN), file:PATH (a file with those names as JSON or as NAME=VALUE lines) or cvm-role:NAME (the role of the machine)."
        ],
        fields={"cos_credentials": "secret"},
    ),
    Wrong(
        "credentials in place of their reference",
        [
            "cos_credentials: looks like a secret, or holds control characters. Secrets are given by reference: env:NAME or file:PATH."
        ],
        fields={"cos_credentials": "AKIDabcdefgh12345678"},
    ),
    Wrong(
        "a storage class that is none",
        ["storage_class=COLD STORE is none of COS's storage classes, such as STANDARD_IA or ARCHIVE."],
        fields={"storage_class": "COLD STORE"},
    ),
    Wrong(
        "an encryption that is none",
        ["server_side_encryption=rot13 is none of AES256, kms and kms:KEY-ID."],
        fields={"server_side_encryption": "rot13"},
    ),
    Wrong(
        "an ACL that is none",
        ["acl=every body is none of default, private, public-read."],
        fields={"acl": "every body"},
    ),
    Wrong("a tag without a value", ["tags: team: write it as KEY=VALUE."], fields={"tags": "team"}),
    Wrong("metadata without a value", ["metadata: team: write it as KEY=VALUE."], fields={"metadata": "team"}),
    Wrong(
        "metadata with a name that is none",
        ["metadata: the name 'te am' may hold only letters, digits and -."],
        fields={"metadata": "te am=a"},
    ),
    Wrong(
        "a retry deadline that is none",
        ["retry_deadline=long: not a duration. Write it as 90s, 5m or 1h."],
        fields={"retry_deadline": "long"},
    ),
    Wrong(
        "a granularity without unit",
        ["granularity=5: not a duration. Write it as 90s, 5m or 1h."],
        fields={"granularity": "5"},
    ),
    Wrong(
        "a granularity that is too long", ["granularity=25h: must be from 1s to 24h."], fields={"granularity": "25h"}
    ),
    Wrong(
        "windows by what is not offered",
        ["window_by=arrival: choose one of publish_time, event_time."],
        fields={"window_by": "arrival"},
    ),
    Wrong(
        "a disorder that is none",
        ["allowed_disorder=much: not a duration. Write it as 90s, 5m or 1h."],
        fields={"allowed_disorder": "much"},
    ),
    Wrong(
        "files of no messages",
        ["max_file_messages=0: must be a whole number from 1 to 999999."],
        fields={"max_file_messages": "0"},
    ),
    Wrong(
        "file bytes that are no size",
        ["max_file_bytes=500 apples: not a size. Write it as 500MB or 256MiB."],
        fields={"max_file_bytes": "500 apples"},
    ),
    Wrong(
        "a format that is none", ["format=parquet is unknown: choose one of avro, jsonl."], fields={"format": "parquet"}
    ),
    Wrong(
        "a codec that is none",
        ["codec=lzma is not a codec of format=avro: choose one of null, deflate, snappy, zstandard."],
        fields={"codec": "lzma"},
    ),
    Wrong(
        "a payload that is none",
        ["payload=text is unknown: choose one of bytes, json, value."],
        fields={"payload": "text"},
    ),
    Wrong(
        "JSON in Avro",
        [
            "payload=json needs format=jsonl: Avro has no type for JSON of any shape. For a topic with a schema, payload=value gives typed values in both formats."
        ],
        fields={"payload": "json"},
    ),
    Wrong(
        "a path with a placeholder that is none",
        ["path_template={team}/{topic}/: no placeholder {team}. There are {cluster}, {tenant}, {namespace}, {topic}."],
        fields={"path_template": "{team}/{topic}/"},
    ),
    Wrong(
        "a time zone that is none",
        ["timezone=Atlantis/Capital: no such time zone. Give an IANA name, such as Asia/Shanghai."],
        fields={"timezone": "Atlantis/Capital"},
    ),
    Wrong(
        "a runner that is none",
        ["runner=SparkRunner: choose one of DirectRunner, FlinkRunner, PortableRunner."],
        fields={"runner": "SparkRunner"},
    ),
    Wrong(
        "no worker at all",
        ["local_workers=0: must be a whole number from 1 to 1000."],
        fields={"local_workers": "0"},
    ),
    Wrong(
        "workers of the machine for a cluster",
        [
            "local_workers=2: is of runs on this machine. Leave it out; on a cluster --parallelism=N says how many subtasks share the partitions."
        ],
        fields={"local_workers": "2", "runner": "FlinkRunner"},
    ),
    Wrong(
        "a memory that is too small",
        ["memory_budget=1MB: must be at least 64000000 bytes."],
        fields={"memory_budget": "1MB"},
    ),
    Wrong(
        "a runner's option without hyphens",
        ["runner_options=flink_master=x: write it as --name=value."],
        fields={"runner_options": "flink_master=x"},
    ),
    Wrong(
        "a field as an option of the runner",
        ["runner_options=--granularity=5m: is no option of the runner; what it means is in the rule's own fields."],
        fields={"runner_options": "--granularity=5m"},
    ),
    Wrong(
        "an option that the runner does not know",
        ["runner_options=--no_such_option: the runner has no such option."],
        fields={"runner_options": "--no_such_option=1"},
    ),
    Wrong(
        "several at once",
        ["retries: write a whole number from 0 to 20."],
        fields={"granularity": "5", "bucket": None, "start_point": "yesterday", "retries": "1000"},
    ),
    Wrong(
        "a file that is not YAML",
        ["{folder}/rule.yaml: not YAML (line 2: expected ',' or ']', but got '<stream end>')."],
        file=("rule.yaml", b"topic: [orders\n"),
    ),
    Wrong(
        "a file with a tab",
        ["{folder}/rule.yaml: not YAML (line 2: found character '\\t' that cannot start any token)."],
        file=("rule.yaml", b"topic:\n\t- orders\n"),
    ),
    Wrong(
        "a file with a tag of Python",
        ["{folder}/rule.yaml: not YAML (line 1: could not determine a constructor for …)."],
        file=("rule.yaml", b"topic: !!python/object/apply:os.system [ls]\n"),
    ),
    Wrong(
        "a file that is not JSON",
        ["{folder}/rule.json: not JSON (line 1: …)."],
        file=("rule.json", b'{"topic": "orders",}'),
    ),
    Wrong(
        "a list in YAML",
        ["{folder}/rule.yaml: is no rule: write its fields as name: value, a line each."],
        file=("rule.yaml", b"- topic: orders\n"),
    ),
    Wrong(
        "a list in JSON",
        ["{folder}/rule.json: is no rule: write its fields as name: value, a line each."],
        file=("rule.json", b'["orders"]'),
    ),
    Wrong(
        "a text alone",
        ["{folder}/rule.yaml: is no rule: write its fields as name: value, a line each."],
        file=("rule.yaml", b"orders\n"),
    ),
    Wrong(
        "an empty file",
        ["{folder}/rule.yaml: is empty. Write fields of a rule, such as topic: orders."],
        file=("rule.yaml", b""),
    ),
    Wrong("an empty JSON file", ["{folder}/rule.json: not JSON (line 1: Expecting value)."], file=("rule.json", b"")),
    Wrong(
        "null in JSON",
        ["{folder}/rule.json: is empty. Write fields of a rule, such as topic: orders."],
        file=("rule.json", b"null"),
    ),
    Wrong(
        "a field that is none",
        ["granularitee: a rule has no such field. Did you mean granularity?"],
        file=("rule.yaml", b"granularitee: 5m\n"),
    ),
    Wrong(
        "a field of another tool",
        ["apiVersion: a rule has no such field. rule create --help lists the fields."],
        file=("rule.yaml", b"apiVersion: v1\n"),
    ),
    Wrong(
        "a field twice in YAML",
        ["{folder}/rule.yaml: the field topic is there twice. Leave one out."],
        file=("rule.yaml", b"topic: orders\ntopic: payments\n"),
    ),
    Wrong(
        "a field twice in JSON",
        ["{folder}/rule.json: the field topic is there twice. Leave one out."],
        file=("rule.json", b'{"topic": "orders", "topic": "payments"}'),
    ),
    Wrong(
        "a field without a name",
        ["{folder}/rule.yaml: is no rule: the name of a field is missing."],
        file=("rule.yaml", b"? [a, b]\n: orders\n"),
    ),
    Wrong(
        "null as a name",
        ["{folder}/rule.yaml: is no rule: the name of a field is missing."],
        file=("rule.yaml", b"null: orders\n"),
    ),
    Wrong(
        "a key in place of its reference, in a file",
        [
            "role_key: looks like a secret, or holds control characters. Secrets are given by reference: env:NAME or file:PATH."
        ],
        file=("rule.yaml", f"role_key: {SECRET}\n".encode()),
    ),
    Wrong(
        "a key as a field's name",
        ["[hidden]: a rule has no such field. rule create --help lists the fields."],
        file=("rule.yaml", f"{SECRET}: x\n".encode()),
    ),
    Wrong(
        "a key in what is not YAML",
        ["{folder}/rule.yaml: not YAML (line 2: found unexpected end of stream)."],
        file=("rule.yaml", f"role_key: '{SECRET}\n".encode()),
    ),
    Wrong("a list where one text stands", ["granularity: write one text."], file=("rule.yaml", b"granularity: [5m]\n")),
    Wrong(
        "a mapping where a list stands",
        ["topic: write a text, or a list of texts."],
        file=("rule.yaml", b"topic: {a: b}\n"),
    ),
    Wrong("a mapping in a list", ["topic: write one text."], file=("rule.yaml", b"topic: [{a: b}]\n")),
    Wrong("a list of lists", ["topic: write one text."], file=("rule.json", b'{"topic": [["orders"]]}')),
    Wrong("tags as a text", ["tags: write KEY=VALUE, in a file KEY: VALUE."], file=("rule.yaml", b"tags: team\n")),
    Wrong(
        "tags of numbers in a list",
        ["tags: write KEY=VALUE, in a file KEY: VALUE."],
        file=("rule.json", b'{"tags": [1, 2]}'),
    ),
    Wrong("a number for yes or no", ["enabled: write yes or no."], file=("rule.json", b'{"enabled": 7}')),
    Wrong("half a retry", ["retries: write a whole number from 0 to 20."], file=("rule.json", b'{"retries": 1.5}')),
    Wrong(
        "a mapping for retries",
        ["retries: write a whole number from 0 to 20."],
        file=("rule.yaml", b"retries: {a: b}\n"),
    ),
    Wrong(
        "a file that is not UTF-8",
        ["{folder}/rule.yaml: is not UTF-8. Is it a rule?"],
        file=("rule.yaml", b"topic: \xff\xfe\n"),
    ),
    Wrong(
        "a file with a zero byte",
        ["{folder}/rule.yaml: not YAML (special characters are not allowed)."],
        file=("rule.yaml", b"topic: a\x00b\n"),
    ),
    Wrong(
        "a file that is too long",
        ["{folder}/rule.yaml: is longer than 1,000,000 bytes. Is it a rule?"],
        file=("rule.yaml", b"#" * 1_000_001),
    ),
    Wrong(
        "several rules in one file",
        ["{folder}/rule.yaml: has several rules. rule import takes them."],
        file=("rule.yaml", b"topic: a\n---\ntopic: b\n"),
    ),
    Wrong(
        "a file that refers to itself",
        ["{folder}/rule.yaml: not YAML (line 1: found unconstructable recursive node)."],
        file=("rule.yaml", b"topic: &a [*a]\n"),
    ),
    Wrong(
        "a very deep JSON file",
        ["{folder}/rule.json: not JSON (it cannot be read)."],
        file=("rule.json", b"[" * 100_000),
    ),
    Wrong(
        "a file that is not there",
        ["{folder}/none.yaml: cannot be read (No such file or directory)."],
        words=["--file={folder}/none.yaml"],
    ),
    Wrong("a folder in place of a file", ["{folder}: cannot be read (Is a directory)."], words=["--file={folder}"]),
    Wrong("a typing error", ["--granulariti: no such option. Did you mean --granularity?"], words=["--granulariti=5m"]),
    Wrong(
        "a word too many",
        ["A word of the command line belongs to no option. Quote values that hold blanks."],
        words=["payments"],
    ),
    Wrong(
        "an option without its value",
        ["--subscription: needs a value. --help lists the options."],
        words=["--subscription"],
    ),
    Wrong(
        "a password in the store's address",
        [
            "--store: a password on a command line is seen by others. Leave it out, and put the whole address in TDMQ_BACKUP_STORE, or the password in PGPASSWORD or ~/.pgpass."
        ],
        words=["--store=postgresql://me:word@127.0.0.1/rules"],
    ),
    Wrong(
        "a store that is none",
        ["--store: not a store. Write sqlite:////FOLDER/rules.sqlite3, or postgresql://HOST/DATABASE?user=NAME."],
        words=["--store=mysql://127.0.0.1/rules"],
    ),
]
