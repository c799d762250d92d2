"""The options of a restore, declared once, and the help that shows them. Loads in a moment: neither Beam nor an SDK."""

from __future__ import annotations

from pipelines.parser import Help, Parser, add_log_options

_EPILOG = """\
examples:
  all of a topic, into a new one with 3 partitions:
    %(prog)s --backup=cos://backup-1250000000/pulsar/ --cos_region=ap-guangzhou --topic=pulsar-abc123/shop/orders \
--service_url=pulsar://10.0.0.7:6650 --admin_url=http://10.0.0.7:8080 --token=env:PULSAR_TOKEN \
--target_topic=pulsar-abc123/shop/orders-again --create_topic=3
  before that, see what it would do:
    %(prog)s --dry_run --backup=file:///tmp/backup/ --service_url=pulsar://127.0.0.1:6650 --target_topic=orders-again
  two keys of one hour, at 200 messages a second:
    %(prog)s --start=2026-11-22T09:00:00Z --end=2026-11-22T10:00:00Z --key=4711 --key=4712 --rate=200 \
--backup=file:///tmp/backup/ --service_url=pulsar://127.0.0.1:6650 --target_topic=orders-again

exit codes:
  0 done, 1 unexpected, or Flink failed, 2 configuration, 3 authentication or permission, 4 the Pulsar cluster, \
5 the backup, 130 interrupted, 143 terminated

Beam's own options pass through."""


def restore_parser() -> Parser:
    """The parser of our options; its help is what ``--help`` shows."""
    parser = Parser(
        prog="python -m pipelines.restore",
        usage="%(prog)s --backup=URL --service_url=URL --target_topic=NAME [OPTION ...]",
        description="Send what a backup holds of a topic into a topic again: messages as they were and in their order. "
        "Running it again goes on where it was broken off.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=Help,
    )
    vars(parser)["color"] = False
    backup = parser.add_argument_group("backup")
    backup.add_argument("--backup", metavar="URL", help="cos://bucket-appid/prefix/ or file:///folder/; required")
    backup.add_argument("--cos_region", metavar="ID", help="region of the bucket, such as ap-guangzhou")
    backup.add_argument("--cos_endpoint", metavar="URL", help="another endpoint, such as http://127.0.0.1:9000")
    backup.add_argument(
        "--cos_credentials",
        default="env",
        metavar="REF",
        help="env (COS_SECRET_ID, COS_SECRET_KEY, COS_TOKEN), file:PATH or cvm-role:NAME",
    )
    backup.add_argument(
        "--retry_deadline", default="10m", metavar="TIME", help="for how long COS or the broker may be away"
    )
    backup.add_argument("--format", metavar="NAME", help="avro or jsonl; needed where the backup has both")
    backup.add_argument(
        "--path_template", metavar="PATH", help="that of the backup; needed where no run record tells another one"
    )
    chosen = parser.add_argument_group("what is restored")
    chosen.add_argument("--topic", metavar="NAME", help="the topic that was backed up; needed where there are several")
    chosen.add_argument(
        "--partition", action="append", metavar="N", help="one partition; repeatable; 0 for a topic without any"
    )
    chosen.add_argument(
        "--start",
        default="earliest",
        metavar="POINT",
        help="earliest, a publish time with a zone, epoch milliseconds, or ledger:entry[:batch]",
    )
    chosen.add_argument(
        "--end", default="now", metavar="POINT", help="now, for all; or a point as above; a time is not part of it"
    )
    chosen.add_argument("--window_start", metavar="TIME", help="windows that start at this time or later")
    chosen.add_argument("--window_end", metavar="TIME", help="windows that start before this time")
    chosen.add_argument("--key", action="append", metavar="KEY", help="messages with this key; repeatable")
    target = parser.add_argument_group("target")
    target.add_argument("--service_url", metavar="URL", help="broker address; required")
    target.add_argument("--admin_url", metavar="URL", help="admin REST address; needed for --create_topic")
    target.add_argument("--token", metavar="REF", help="role key by reference: env:NAME or file:PATH")
    target.add_argument("--tls_trust_certs", metavar="PATH", help="certificates that are trusted")
    target.add_argument("--tls_cert", metavar="PATH", help="our certificate, for mutual TLS")
    target.add_argument("--tls_key", metavar="PATH", help="its key")
    target.add_argument("--listener_name", metavar="NAME", help="the broker's advertised listener")
    target.add_argument("--target_topic", metavar="NAME", help="where messages go; must exist; required")
    target.add_argument(
        "--create_topic", metavar="N", help="create the target with N partitions if it is not there; 0: without any"
    )
    target.add_argument(
        "--into_source", action="store_true", help="allow the target to be the topic that was backed up"
    )
    target.add_argument("--append", action="store_true", help="allow the target to hold other messages already")
    target.add_argument(
        "--routing",
        choices=("auto", "partition", "key"),
        default="auto",
        help="partition: into the one of the same index; key: by the hash of the key; auto: partition where the topic "
        "had as many as the target has",
    )
    target.add_argument(
        "--key_hash", choices=("java", "murmur3"), default="java", help="that of the producers, for --routing=key"
    )
    target.add_argument("--no_origin", action="store_true", help="add no properties that tell where messages are from")
    target.add_argument(
        "--schemas",
        choices=("recorded", "none"),
        default="recorded",
        help="recorded: register the topic's schemas as they were, and send under them",
    )
    target.add_argument(
        "--on_unrestorable",
        choices=("fail", "skip"),
        default="fail",
        help="what to do with a message that cannot be sent as it was",
    )
    target.add_argument("--rate", metavar="N", help="messages a second, at most")
    target.add_argument("--rate_bytes", metavar="SIZE", help="bytes a second, at most: 500KB, 10MB")
    run = parser.add_argument_group("run")
    run.add_argument("--dry_run", action="store_true", help="read all, count, say what would be sent, and send nothing")
    run.add_argument(
        "--runner", default="DirectRunner", metavar="NAME", help="DirectRunner: in this process; or FlinkRunner"
    )
    run.add_argument("--summary_file", metavar="PATH", help="write the result as JSON")
    add_log_options(run)
    return parser
