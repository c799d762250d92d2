"""Options of the destination that are wrong in themselves, or do not go together."""

from __future__ import annotations

from tests.pipelines.wrong_inputs import Case

CASES = [
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
]
