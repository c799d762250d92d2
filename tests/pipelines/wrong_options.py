"""Other options that are wrong in themselves, and several at once."""

from __future__ import annotations

from tests.pipelines.wrong_inputs import Case

CASES = [
    Case(
        "nothing at all",
        2,
        ["--service_url", "--topic", "--destination", "--cos_region", "--cos_endpoint"],
        [
            "--topic is missing: name at least one topic; the option may be given several times.",
            "--service_url is missing: the broker's address, such as pulsar://127.0.0.1:6650.",
            "--destination is missing: cos://BUCKET-APPID/PREFIX/ or file:///FOLDER/.",
        ],
    ),
    Case("a typing error", 2, ["--granulariti=5m"], ["--granulariti: no such option. Did you mean --granularity?"]),
    Case(
        "two hyphens for a value",
        2,
        ["--subscription=--"],
        ["--subscription: needs a value. --help lists the options."],
    ),
    Case(
        "an option without its value",
        2,
        ["--subscription"],
        ["--subscription: needs a value. --help lists the options."],
    ),
    Case(
        "a word too many",
        2,
        ["orders"],
        ["word 6 of the command line belongs to no option. Quote values that hold blanks."],
    ),
    Case(
        "a granularity without unit",
        2,
        ["--granularity=5"],
        ["--granularity=5: not a duration. Write it as 90s, 5m or 1h."],
    ),
    Case("a granularity that is too long", 2, ["--granularity=25h"], ["--granularity=25h: must be from 1s to 24h."]),
    Case(
        "windows by what is not offered",
        2,
        ["--window_by=arrival"],
        ["--window_by=arrival: choose one of publish_time, event_time."],
    ),
    Case(
        "a disorder that is none",
        2,
        ["--allowed_disorder=much"],
        ["--allowed_disorder=much: not a duration. Write it as 90s, 5m or 1h."],
    ),
    Case(
        "files of no messages",
        2,
        ["--max_file_messages=0"],
        ["--max_file_messages=0: must be a whole number from 1 to 999999."],
    ),
    Case(
        "files of many messages",
        2,
        ["--max_file_messages=many"],
        ["--max_file_messages=many: must be a whole number from 1 to 999999."],
    ),
    Case(
        "file bytes that are no size",
        2,
        ["--max_file_bytes=500 apples"],
        ["--max_file_bytes=500 apples: not a size. Write it as 500MB or 256MiB."],
    ),
    Case("a format that is none", 2, ["--format=parquet"], ["--format=parquet is unknown: choose one of avro, jsonl."]),
    Case(
        "a codec that is none",
        2,
        ["--codec=lzma"],
        ["--codec=lzma is not a codec of --format=avro: choose one of null, deflate, snappy, zstandard."],
    ),
    Case(
        "a payload that is none",
        2,
        ["--payload=text"],
        ["--payload=text is unknown: choose one of bytes, json, value."],
    ),
    Case(
        "JSON in Avro",
        2,
        ["--payload=json"],
        [
            "--payload=json needs --format=jsonl: Avro has no type for JSON of any shape. For a topic with a schema, --payload=value gives typed values in both formats."
        ],
    ),
    Case(
        "a path with a placeholder that is none",
        2,
        ["--path_template={team}/{topic}/"],
        [
            "--path_template={team}/{topic}/: no placeholder {team}. There are {cluster}, {tenant}, {namespace}, {topic}."
        ],
    ),
    Case(
        "a path without topic",
        2,
        ["--path_template=all/"],
        ["--path_template=all/: must hold {topic}, or files of several topics could not be told apart."],
    ),
    Case(
        "keys that are too long",
        2,
        ["--path_template={topic}/" + "long/" * 160],
        [
            "the names of objects would be up to 932 bytes long, and COS takes 850: shorten the destination's prefix or --path_template (backup/orders/long/long/long/long/long/long/long/long/long/long/long/long/long/l…)."
        ],
    ),
    Case(
        "a zone that is none",
        2,
        ["--timezone=Mars/Olympus"],
        ["--timezone=Mars/Olympus: no such time zone. Give an IANA name, such as Asia/Shanghai."],
    ),
    Case("manifests what is not offered", 2, ["--manifest=late"], ["--manifest=late: choose one of on, off."]),
    Case(
        "a memory budget that is too small",
        2,
        ["--memory_budget=1MB"],
        ["--memory_budget=1MB: must be at least 64000000 bytes."],
    ),
    Case(
        "no worker at all",
        2,
        ["--local_workers=0"],
        ["--local_workers=0: must be a whole number from 1 to 1000."],
    ),
    Case(
        "workers in words",
        2,
        ["--local_workers=two"],
        ["--local_workers=two: must be a whole number from 1 to 1000."],
    ),
    Case(
        "a summary in a folder that is not there",
        2,
        ["--summary_file={folder}/nothing/summary.json"],
        [
            "--summary_file={folder}/nothing/summary.json: there is no folder {folder}/nothing. Create it, or name another one."
        ],
    ),
    Case(
        "a summary that is a folder",
        2,
        ["--summary_file={folder}"],
        ["--summary_file={folder}: is a folder. Name a file in it."],
    ),
    Case(
        "a summary that is the folder itself",
        2,
        ["--summary_file=."],
        ["--summary_file=.: is a folder. Name a file in it."],
    ),
    Case(
        "a summary without a name",
        2,
        ["--summary_file="],
        ["--summary_file: is empty. Give a value, or leave the option out."],
    ),
    Case(
        "a summary below a file",
        2,
        ["--summary_file={folder}/file/summary.json"],
        [
            "--summary_file={folder}/file/summary.json: cannot be written (Not a directory). Name a file in a folder that this user may write to."
        ],
    ),
    Case(
        "a log level that is none",
        2,
        ["--log_level=LOUD"],
        ["--log_level=LOUD: choose one of DEBUG, INFO, WARNING, ERROR."],
    ),
    Case("a log format that is none", 2, ["--log_format=xml"], ["--log_format=xml: choose one of text, json."]),
    Case(
        "several at once",
        2,
        ["--start=yesterday", "--granularity=5", "--acl=everybody", "--log_level=LOUD", "--bogus=1"],
        [
            "--bogus: no such option. --help lists the options.",
            "--log_level=LOUD: choose one of DEBUG, INFO, WARNING, ERROR.",
            "--start=yesterday: neither earliest, latest, subscription, nor a date-time such as 2026-11-22T09:45:00Z, nor a message id such as 1234:56 or 1234:56:7.",
            "--granularity=5: not a duration. Write it as 90s, 5m or 1h.",
            "--acl=everybody is none of default, private, public-read.",
        ],
        process=True,
    ),
]
