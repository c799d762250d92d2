"""What a rule is: the fields of the console's "TDMQ Message Backup" under their names, and ours.

Only what a field holds is checked here; ``arguments.py`` checks the rule as a whole. Texts that are options of the job
are written as there: ``5m``, ``500MB``, ``env:NAME``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from pipelines.logs import cleaned
from pipelines.rules.schedule import parse_days, parse_schedule
from transforms.errors import ConfigurationError
from transforms.files.naming import DEFAULT_PATH

LONGEST_NAME = 64
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}")
_MOST_RETRIES = 20


def _listed(value: Any) -> Any:
    """One text where several may stand."""
    return (value,) if isinstance(value, str) else value


def _paired(value: Any) -> Any:
    """``KEY=VALUE`` texts as a mapping."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        wrong = next((each for each in value if "=" not in each), None)
        if wrong is not None:
            raise ValueError(f"{wrong}: write it as KEY=VALUE")
        return dict(each.split("=", 1) for each in value)
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Pairs = Annotated[dict[str, str], BeforeValidator(_paired)]


class Rule(BaseModel):
    """A rule. Holds references to secrets, never secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: str = Field(description="function name: unique, and never changed")
    description: str | None = Field(None, description="what it is for, in your words")
    enabled: bool = Field(True, description="whether the schedule runs it")
    schedule: str = Field(
        "",
        description='when it runs: "every 15m", cron as "0 * * * *" (in the timezone), "continuous" on Flink; by hand '
        "only unless given",
    )
    retries: int = Field(
        3, ge=0, le=_MOST_RETRIES, description="how often a failed run is tried again before its next turn"
    )
    keep_log: str = Field("400d", description="for how long records of runs are kept: 90d")

    address: str | None = Field(
        None, description="address of the cluster: pulsar://, pulsar+ssl://, http:// or https://"
    )
    admin_url: str | None = Field(None, description="admin REST address; without it fewer checks are made")
    cluster: str | None = Field(
        None, description="cluster id, which is the first part of a topic's name; tenant elsewhere"
    )
    namespace: str | None = Field(None, description="namespace of the topics")
    topic: Texts = Field((), description="topic, or one partition of it; repeatable")
    topic_pattern: str | None = Field(None, description="all topics of the namespace whose whole name matches")
    subscription: str | None = Field(
        None, description="durable subscription, for which the broker keeps what is not stored"
    )
    start_point: str = Field("earliest", description="where the first run starts: earliest, latest, a date-time, an id")
    end_point: str = Field("now", description="where a run ends: now, a date-time, an id")
    role: str | None = Field(None, description="name of the role whose key is given; compared with the key")
    role_key: str | None = Field(None, description="the role's key by reference: env:NAME or file:PATH")
    listener_name: str | None = Field(None, description="the broker's advertised listener")
    tls_trust_certs: str | None = Field(None, description="file of the certificates that are trusted")
    tls_cert: str | None = Field(None, description="own certificate, for mutual TLS")
    tls_key: str | None = Field(None, description="its key")
    on_trimmed: str = Field("fail", description="where the broker has deleted what was to be read: fail or continue")

    bucket: str | None = Field(None, description="NAME-APPID, or file:///FOLDER/ for a folder on this machine")
    region: str | None = Field(None, description="region of the bucket, such as ap-guangzhou")
    destination_path: str = Field("", description="prefix in the bucket: empty, or ends with /")
    cos_endpoint: str | None = Field(None, description="another endpoint, such as http://127.0.0.1:9000")
    cos_credentials: str = Field("env", description="env, file:PATH or cvm-role:NAME")
    storage_class: str | None = Field(None, description="storage class of the objects")
    server_side_encryption: str | None = Field(None, description="AES256, kms or kms:KEY-ID")
    acl: str | None = Field(None, description="ACL of the objects")
    tags: Pairs = Field(default_factory=dict, description="KEY=VALUE, a tag of the objects; repeatable")
    metadata: Pairs = Field(default_factory=dict, description="KEY=VALUE, user metadata; repeatable")
    retry_deadline: str = Field("10m", description="for how long COS or the broker may be away")

    granularity: str = Field("5m", description="window that is gathered: 90s, 5m, 1h")
    window_by: str = Field("publish_time", description="publish_time or event_time")
    allowed_disorder: str = Field("30s", description="by how much publish times may be out of order")
    max_file_messages: str = Field("5000", description="messages in a file")
    max_file_bytes: str = Field("500MB", description="uncompressed records in a file")
    format: str = Field("avro", description="avro or jsonl")
    codec: str | None = Field(None, description="avro: null, deflate, snappy, zstandard; jsonl: none, gzip, zstd")
    payload: str = Field("bytes", description="bytes, json (jsonl only) or value")
    path_template: str = Field(DEFAULT_PATH, description="folder of a window, with strftime directives")
    timezone: str = Field("UTC", description="of the dates in the path, and of a cron schedule")
    manifest: str = Field("on", description="on or off: manifests of windows, and a record of each run")

    runner: str = Field("DirectRunner", description="DirectRunner: on the machine where the run is; or FlinkRunner")
    local_workers: str | None = Field(
        None, description="processes of a run there, which share its partitions; one for each core unless given"
    )
    memory_budget: str = Field(
        "256MB",
        description="memory beyond the interpreter: of all local workers together, or of a worker process on Flink",
    )
    runner_options: Texts = Field((), description="an option of the runner, such as --flink_master=URL; repeatable")

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"write letters, digits, - and _, a letter first, at most {LONGEST_NAME} of them")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _holds_no_secret(cls, value: Any) -> Any:
        for text in _texts(value):
            if cleaned(text) != text:
                raise ValueError(
                    "looks like a secret, or holds control characters. Secrets are given by reference: env:NAME or "
                    "file:PATH"
                )
        return value

    @field_validator("schedule")
    @classmethod
    def _is_a_schedule(cls, value: str) -> str:
        parse_schedule(value, "UTC")
        return value

    @field_validator("keep_log")
    @classmethod
    def _is_a_time_of_days(cls, value: str) -> str:
        parse_days(value)
        return value

    @property
    def continuous(self) -> bool:
        """Whether it is one job without an end."""
        return self.schedule == "continuous"

    def document(self) -> dict[str, Any]:
        """What was given: the fields that differ from their defaults, in their order, the name first."""
        return self.model_dump(mode="json", exclude_defaults=True)


#: The first field of each group.
_GROUPS = {
    "name": "rule and schedule",
    "address": "source",
    "bucket": "destination",
    "granularity": "files",
    "runner": "runner",
}


def fields_by_group() -> dict[str, list[str]]:
    """The fields' names, in their order, below the title of their group."""
    found: dict[str, list[str]] = {}
    for name in Rule.model_fields:
        if name in _GROUPS:
            title = _GROUPS[name]
            found[title] = []
        found[title].append(name)
    return found


def read_rule(values: Mapping[str, Any]) -> Rule:
    """Make a rule of its fields. Raises ConfigurationError with a sentence for each field that is wrong."""
    try:
        return Rule.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigurationError(*_sentences(error)) from None


def _sentences(error: ValidationError) -> list[str]:
    found = []
    for each in error.errors(include_url=False):
        field = str(each["loc"][0]) if each["loc"] else "rule"
        match each["type"]:
            case "missing":
                found.append(f"{field}: is missing.")
            case "extra_forbidden":
                near = difflib.get_close_matches(field, Rule.model_fields, n=1)
                hint = f"Did you mean {near[0]}?" if near else "rule create --help lists the fields."
                found.append(f"{cleaned(field)}: a rule has no such field. {hint}")
            case "value_error":
                said = str(each["ctx"]["error"])
                shown = "" if "secret" in said or not isinstance(each["input"], str) else f"{each['input']!r}: "
                found.append(f"{field}: {shown}{said}.")
            case "bool_parsing" | "bool_type":
                found.append(f"{field}: write yes or no.")
            case "int_parsing" | "int_type" | "int_from_float" | "greater_than_equal" | "less_than_equal":
                found.append(f"{field}: write a whole number from 0 to {_MOST_RETRIES}.")
            case "string_type":
                found.append(f"{field}: write one text.")
            case "tuple_type":
                found.append(f"{field}: write a text, or a list of texts.")
            case "dict_type":
                found.append(f"{field}: write KEY=VALUE, in a file KEY: VALUE.")
            case _:
                found.append(f"{field}: {each['msg'][0].lower()}{each['msg'][1:]}.")
    return list(dict.fromkeys(found))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for text in pair)
    elif isinstance(value, tuple):
        yield from value
