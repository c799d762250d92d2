"""Options that are wrong in themselves: told all at once, before anything is asked of anyone."""

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
    Case(
        "a destination of another system",
        2,
        ["--destination=s3://bucket/backup/"],
        ["--destination=s3://bucket/backup/ is neither cos://BUCKET-APPID/PREFIX/ nor file:///FOLDER/."],
    ),
    Case(
        "a destination without APPID",
        2,
        ["--destination=cos://backup/pulsar/"],
        [
            "--destination=cos://backup/pulsar/ has no bucket of the form NAME-APPID, such as backup-1250000000: 'backup' is not (lower-case letters, digits and hyphens, and the account's APPID at the end)."
        ],
    ),
    Case(
        "a prefix without /",
        2,
        ["--destination=cos://{bucket}/backup"],
        ["--destination=cos://{bucket}/backup has a prefix that does not end with /: write cos://{bucket}/backup/."],
    ),
    Case(
        "a prefix with ..",
        2,
        ["--destination=cos://{bucket}/../backup/"],
        [
            "--destination=cos://{bucket}/../backup/ has . or .. in its prefix, which COS does not resolve: write the path out."
        ],
    ),
    Case(
        "a folder that is not absolute",
        2,
        ["--destination=file://backup/"],
        ["--destination=file://backup/ is not of the form file:///FOLDER/, with three slashes and an absolute path."],
    ),
    Case(
        "a folder with a region",
        2,
        ["--destination=file://{folder}/out/", "--cos_region=ap-guangzhou"],
        [
            "--destination=file://{folder}/out/ is a folder: --cos_region, --cos_endpoint, storage class, encryption, ACL, tags and metadata are for cos:// only."
        ],
    ),
    Case(
        "no region",
        2,
        ["--cos_region", "--cos_endpoint"],
        [
            "--cos_region is missing, such as --cos_region=ap-guangzhou (one of ap-beijing, ap-chengdu, ap-guangzhou, ap-hongkong, ap-shanghai, ap-singapore, na-siliconvalley)."
        ],
    ),
    Case(
        "a region that is none",
        2,
        ["--cos_region=Guangzhou"],
        ["--cos_region=Guangzhou is not a region id such as ap-guangzhou."],
    ),
    Case(
        "an endpoint without scheme",
        2,
        ["--cos_endpoint={cos}"],
        ["--cos_endpoint is not of the form http[s]://HOST[:PORT], such as http://127.0.0.1:9000."],
    ),
    Case(
        "a key in place of a reference",
        2,
        ["--cos_credentials=AKIDhidden"],
        [
            "--cos_credentials: the reference to the COS credentials is of no known form. Use env (COS_SECRET_ID, COS_SECRET_KEY and, for a temporary key, COS_TOKEN), file:PATH (a file with those names as JSON or as NAME=VALUE lines) or cvm-role:NAME (the role of the machine)."
        ],
    ),
    Case(
        "a storage class that is none",
        2,
        ["--storage_class=cheap"],
        ["--storage_class=cheap is none of COS's storage classes, such as STANDARD_IA or ARCHIVE."],
    ),
    Case(
        "an encryption that is none",
        2,
        ["--server_side_encryption=rot13"],
        ["--server_side_encryption=rot13 is none of AES256, kms and kms:KEY-ID."],
    ),
    Case("an ACL that is none", 2, ["--acl=everybody"], ["--acl=everybody is none of default, private, public-read."]),
    Case("a tag without value", 2, ["--tag=team"], ["--tag=team: write it as KEY=VALUE."]),
    Case(
        "metadata with a name that is none",
        2,
        ["--metadata=a_b=c"],
        ["--metadata: the name 'a_b' may hold only letters, digits and -."],
    ),
    Case(
        "a retry deadline without unit",
        2,
        ["--retry_deadline=10"],
        ["--retry_deadline=10: not a duration. Write it as 90s, 5m or 1h."],
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
    Case(
        "a runner that is not there",
        2,
        ["--runner=SparkRunner"],
        ["--runner=SparkRunner: this version runs on DirectRunner only."],
    ),
    Case(
        "a run without end",
        2,
        ["--streaming"],
        [
            "--streaming: needs a runner that keeps state and makes checkpoints, which DirectRunner does not. Leave it out."
        ],
    ),
    Case(
        "a memory budget that is too small",
        2,
        ["--memory_budget=1MB"],
        ["--memory_budget=1MB: must be at least 64000000 bytes."],
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
