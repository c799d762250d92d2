"""A rule as the options of the job: what is checked of a backup is checked of a rule, in the names of its fields."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from pipelines.options import LOCAL_RUNNER, BackupConfig, parse_options
from pipelines.rules.model import Rule
from pipelines.rules.schedule import parse_schedule
from transforms.errors import ConfigurationError
from transforms.pulsar.connection import token_subject

#: Options of the job whose fields have other names.
_FIELD_OF_OPTION = {
    "service_url": "address",
    "token": "role_key",
    "start": "start_point",
    "end": "end_point",
    "destination": "bucket",
    "cos_region": "region",
    "tag": "tags",
}
#: Options of the job that a rule decides by itself.
_FIXED = ("streaming", "acknowledge", "check", "summary_file", "log_level", "log_format", "discovery_interval")
_SAME_NAME = (
    "admin_url",
    "subscription",
    "listener_name",
    "tls_trust_certs",
    "tls_cert",
    "tls_key",
    "on_trimmed",
    "cos_endpoint",
    "cos_credentials",
    "storage_class",
    "server_side_encryption",
    "acl",
    "retry_deadline",
    "granularity",
    "window_by",
    "allowed_disorder",
    "max_file_messages",
    "max_file_bytes",
    "format",
    "codec",
    "payload",
    "path_template",
    "timezone",
    "manifest",
    "runner",
    "local_workers",
    "memory_budget",
)


#: What is told of one of them is not told of the other once more.
_SAME_CAUSE = {"destination_path": "bucket", "--streaming": "schedule"}
_REFERENCE = re.compile("env:[A-Za-z_][A-Za-z0-9_]*|file:.+")


def job_arguments(rule: Rule) -> list[str]:
    """The command line of the job that does what the rule says, without what only rules have."""
    return list(_arguments(rule))


def backup_command(rule: Rule) -> str:
    """The command line of ``tdmq-backup backup`` that reads and writes the same, without what runs before have done."""
    return shlex.join(["tdmq-backup", "backup", *map(_hyphened, job_arguments(rule))])


def _hyphened(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"


def check_rule(rule: Rule, *, elsewhere: bool = False) -> BackupConfig:
    """The rule as the job takes it. Raises ConfigurationError with all that is wrong, in the names of fields.

    ``elsewhere``: it will run on another machine, which has the files and variables that it names.
    """
    problems = list(_own_problems(rule))
    config = None
    try:
        config = parse_options(job_arguments(_without_references(rule) if elsewhere else rule))
    except ConfigurationError as error:
        told = {_SAME_CAUSE.get(field, field) for field in map(field_of, problems)}
        of_job = map(_of_runner, map(in_names_of_fields, error.problems))
        problems += [each for each in of_job if _SAME_CAUSE.get(field_of(each), field_of(each)) not in told]
    if problems or config is None:
        raise ConfigurationError(*problems)
    return config


def in_names_of_fields(sentence: str) -> str:
    """A sentence of the job, with fields in place of options: ``--start=x: …`` becomes ``start_point=x: …``."""
    return re.sub(
        r"(?<![\w-])--([a-z]+(?:_[a-z]+)*)\b",
        lambda found: _FIELD_OF_OPTION.get(found[1], found[1]) if _is_field(found[1]) else found[0],
        sentence,
    )


def _without_references(rule: Rule) -> Rule:
    """The same, with nothing that has to be on the machine where it is looked at."""
    changed: dict[str, str | None] = {
        name: os.devnull
        for name in ("tls_trust_certs", "tls_cert", "tls_key")
        if (value := getattr(rule, name)) is not None and "-----BEGIN" not in value
    }
    if rule.role_key is not None and _REFERENCE.fullmatch(rule.role_key):
        changed["role_key"] = None
    return rule.model_copy(update=changed)


def field_of(sentence: str) -> str:
    """The field that a sentence of ``check_rule`` or ``read_rule`` is about, which it begins with."""
    return re.split("[:= ]", sentence, maxsplit=1)[0]


def _of_runner(sentence: str) -> str:
    """What is said of an option that only the runner could know, in words that fit a rule."""
    found = re.match(r"(--[\w-]+): no such option\.", sentence)
    return f"runner_options={found[1]}: the runner has no such option." if found else sentence


def _is_field(option: str) -> bool:
    return option in _FIELD_OF_OPTION or option in Rule.model_fields


def _arguments(rule: Rule) -> Iterator[str]:
    if rule.address is not None:
        yield f"--service_url={rule.address}"
    if rule.role_key is not None:
        yield f"--token={rule.role_key}"
    for topic in rule.topic:
        yield f"--topic={rule.cluster}/{rule.namespace}/{topic}"
    if rule.topic_pattern is not None:
        yield f"--topic_pattern={rule.cluster}/{rule.namespace}/{rule.topic_pattern}"
    yield f"--start={rule.start_point}"
    if rule.continuous:
        yield "--streaming"
    yield f"--end={rule.end_point}"
    if rule.bucket is not None:
        yield f"--destination={_destination(rule.bucket, rule.destination_path)}"
    if rule.region is not None:
        yield f"--cos_region={rule.region}"
    yield from (f"--tag={key}={value}" for key, value in rule.tags.items())
    yield from (f"--metadata={key}={value}" for key, value in rule.metadata.items())
    for name in _SAME_NAME:
        value = getattr(rule, name)
        if value is not None:
            yield f"--{name}={value}"
    # Others would be words that belong to no option; that is said of them elsewhere.
    yield from (each for each in rule.runner_options if each.startswith("--"))


def _destination(bucket: str, path: str) -> str:
    return f"{bucket.rstrip('/')}/{path}" if bucket.startswith("file://") else f"cos://{bucket}/{path}"


_REQUIRED = {
    "address": "the cluster's address, such as pulsar://10.0.0.7:6650",
    "cluster": "the cluster's id, or the tenant: the first part of a topic's name",
    "namespace": "the second part of a topic's name",
    "subscription": "a rule needs one of its own, for which the broker keeps what is not stored yet",
    "bucket": "NAME-APPID, or file:///FOLDER/ for a folder on this machine",
}


def _own_problems(rule: Rule) -> Iterator[str]:
    """Sentences about what the job does not know, or says in words that do not fit a rule."""
    for name, what in _REQUIRED.items():
        if not (getattr(rule, name) or "").strip():
            yield f"{name}: is missing: {what}."
    if not rule.topic and rule.topic_pattern is None:
        yield "topic: is missing: name at least one, or give topic_pattern."
    named = [("cluster", rule.cluster), ("namespace", rule.namespace), *(("topic", each) for each in rule.topic)]
    for name, part in named:
        if "/" in (part or ""):
            yield f"{name}={part}: is one part of a topic's name; cluster, namespace and topic are fields of their own."
    yield from _place_problems(rule)
    if rule.continuous and rule.runner == LOCAL_RUNNER:
        yield "schedule=continuous: needs Flink: set runner to FlinkRunner, and --flink_master=URL in runner_options."
    if rule.end_point != "now" and parse_schedule(rule.schedule, "UTC").has_turns:
        yield f"end_point={rule.end_point}: a schedule would find nothing more behind it. Leave out one of the two."
    subject = token_subject(rule.role_key) if rule.role is not None and rule.role_key is not None else None
    if subject is not None and subject != rule.role:
        yield f"role={rule.role}: the key in role_key belongs to the role {subject}."
    for option in rule.runner_options:
        name = option.removeprefix("--").partition("=")[0].replace("-", "_")
        if not option.startswith("--"):
            yield f"runner_options={option}: write it as --name=value."
        elif _is_field(name) or name in _FIXED:
            yield f"runner_options={option}: is no option of the runner; what it means is in the rule's own fields."


def _place_problems(rule: Rule) -> Iterator[str]:
    bucket, path = rule.bucket or "", rule.destination_path
    if "://" in bucket and not bucket.startswith("file:///"):
        yield f"bucket={bucket}: write NAME-APPID alone, or file:///FOLDER/; the folder in it is destination_path."
    elif "/" in bucket and "://" not in bucket:
        yield f"bucket={bucket}: is the bucket's name alone; the folder in it is destination_path."
    if path and (not path.endswith("/") or path.startswith("/")):
        yield f"destination_path={path}: is empty, or ends with / and does not begin with it."
