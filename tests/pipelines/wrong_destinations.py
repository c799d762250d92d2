"""A destination that cannot be reached, lets nobody in, or cannot be written to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.pipelines.wrong_inputs import Case, Surroundings, World
from transforms.testing.cos_faults import ALWAYS, FaultKind


def _fault(kind: FaultKind, operation: str | None = None) -> Surroundings:
    @contextlib.contextmanager
    def around(made: World) -> Iterator[None]:
        made.cos.faults.add(kind, operation=operation, times=ALWAYS)
        yield

    return around


@contextlib.contextmanager
def _clock(made: World) -> Iterator[None]:
    made.cos.clock_skew = -7200
    yield
    made.cos.clock_skew = 0


CASES = [
    Case(
        "a bucket that does not exist",
        5,
        ["--destination=cos://other-1250000000/backup/"],
        [
            "There is no bucket other-1250000000 (region ap-guangzhou). Check the name, which is NAME-APPID, and --cos_region: a bucket is found only in its own region. (GetBucket on cos://other-1250000000/backup/_spool/: 404 NoSuchBucket (The specified bucket does not exist., request id …))"
        ],
        process=True,
    ),
    Case(
        "a region that is another one",
        5,
        ["--cos_region=ap-beijing"],
        [
            "There is no bucket {bucket} (region ap-beijing). Check the name, which is NAME-APPID, and --cos_region: a bucket is found only in its own region. (GetBucket on cos://{bucket}/backup/_spool/: 404 NoSuchBucket (The specified bucket is not in this region., request id …))"
        ],
    ),
    Case(
        "a bucket that is redirected",
        5,
        [],
        [
            "COS says that bucket {bucket} (region ap-guangzhou) is to be asked for elsewhere. Check --cos_region. (GetBucket on cos://{bucket}/backup/_spool/: 301 Redirected)"
        ],
        _fault("redirect"),
    ),
    Case(
        "an endpoint where nothing listens",
        5,
        ["--cos_endpoint=http://{closed}"],
        [
            "Gave up after … s and … attempts. bucket {bucket} (region ap-guangzhou) cannot be reached. Check --cos_region, --cos_endpoint and the network. (GetBucket on cos://{bucket}/backup/_spool/: no answer (the connection was refused))"
        ],
    ),
    Case(
        "an endpoint that says nothing",
        5,
        ["--cos_endpoint=http://{silent}"],
        [
            "Gave up after … s and … attempts. bucket {bucket} (region ap-guangzhou) cannot be reached. Check --cos_region, --cos_endpoint and the network. (GetBucket on cos://{bucket}/backup/_spool/: no answer (…))"
        ],
    ),
    Case(
        "an endpoint that cannot be resolved",
        5,
        ["--cos_endpoint=http://cos.invalid"],
        [
            "Gave up after … s and … attempts. bucket {bucket} (region ap-guangzhou) cannot be reached. Check --cos_region, --cos_endpoint and the network. (GetBucket on cos://{bucket}/backup/_spool/: no answer (the host name cannot be resolved))"
        ],
    ),
    Case(
        "an endpoint of another service",
        5,
        ["--cos_endpoint=http://{admin}"],
        [
            "What answers for bucket {bucket} (region ap-guangzhou) is not COS. Check --cos_endpoint, and for a proxy in between. (GetBucket on cos://{bucket}/backup/_spool/: 404 Unknown)"
        ],
    ),
    Case(
        "an endpoint in TLS where there is none",
        5,
        ["--cos_endpoint=https://{cos}"],
        [
            "Gave up after … s and … attempts. bucket {bucket} (region ap-guangzhou) cannot be reached. Check --cos_region, --cos_endpoint and the network. (GetBucket on cos://{bucket}/backup/_spool/: no answer (the port is without TLS))"
        ],
    ),
    Case(
        "no key",
        2,
        [],
        [
            "The environment has no COS_SECRET_ID and COS_SECRET_KEY. Use env (COS_SECRET_ID, COS_SECRET_KEY and, for a temporary key, COS_TOKEN), file:PATH (a file with those names as JSON or as NAME=VALUE lines) or cvm-role:NAME (the role of the machine)."
        ],
        environment={"COS_SECRET_ID": "", "COS_SECRET_KEY": ""},
    ),
    Case(
        "a key's file that is not there",
        2,
        ["--cos_credentials=file:{folder}/nothing"],
        ["The file {folder}/nothing with the COS credentials cannot be read: No such file or directory."],
    ),
    Case(
        "a key's file that is empty",
        2,
        ["--cos_credentials=file:{folder}/empty"],
        [
            "The file {folder}/empty has no COS_SECRET_ID and COS_SECRET_KEY. Use env (COS_SECRET_ID, COS_SECRET_KEY and, for a temporary key, COS_TOKEN), file:PATH (a file with those names as JSON or as NAME=VALUE lines) or cvm-role:NAME (the role of the machine)."
        ],
    ),
    Case(
        "a role of a machine that is none",
        3,
        ["--cos_credentials=cvm-role:backup"],
        [
            "The metadata service gave no key for the role backup: …. Check that this machine has that role, or use env or file:PATH."
        ],
    ),
    Case(
        "a secret id that is wrong",
        3,
        [],
        [
            "COS does not know the secret id, or its token does not belong to it. Check what --cos_credentials=env refers to. (GetBucket on cos://{bucket}/backup/_spool/: 403 InvalidAccessKeyId (The access key Id you provided is not known., request id …))"
        ],
        environment={"COS_SECRET_ID": "AKIDother"},
    ),
    Case(
        "a secret key that is wrong",
        3,
        [],
        [
            "COS does not accept the signature: the secret key does not belong to the secret id. Check what --cos_credentials=env refers to. (GetBucket on cos://{bucket}/backup/_spool/: 403 SignatureDoesNotMatch (The Signature you specified is invalid., request id …))"
        ],
        environment={"COS_SECRET_KEY": "hidden"},
        process=True,
    ),
    Case(
        "a temporary key that has expired",
        3,
        [],
        [
            "The temporary key has expired and no newer one was found. Check what --cos_credentials=env refers to. (GetBucket on cos://{bucket}/backup/_spool/: 400 ExpiredToken (The provided token has expired., request id …))"
        ],
        _fault("expired-token"),
    ),
    Case(
        "a key that may not list",
        3,
        [],
        [
            "The key that --cos_credentials=env refers to may not do that on cos://{bucket}/backup/_spool/ in bucket {bucket} (region ap-guangzhou). Grant it name/cos:GetBucket there. (GetBucket on cos://{bucket}/backup/_spool/: 403 AccessDenied (Access Denied., request id …))"
        ],
        _fault("access-denied", "GetBucket"),
    ),
    Case(
        "a key that may not write",
        3,
        [],
        [
            "The key that --cos_credentials=env refers to may not do that on cos://{bucket}/backup/_spool/probe-… in bucket {bucket} (region ap-guangzhou). Grant it name/cos:PutObject there. (PutObject on cos://{bucket}/backup/_spool/probe-…: 403 AccessDenied (Access Denied., request id …))"
        ],
        _fault("access-denied", "PutObject"),
    ),
    Case(
        "a key that may not read manifests",
        3,
        [],
        [
            "The key that --cos_credentials=env refers to may not do that on cos://{bucket}/backup/_manifest-probe in bucket {bucket} (region ap-guangzhou). Grant it name/cos:GetObject there. (GetObject on cos://{bucket}/backup/_manifest-probe: 403 AccessDenied (Access Denied., request id …)) Later runs read manifests; --manifest=off does without them."
        ],
        _fault("access-denied", "GetObject"),
    ),
    Case(
        "a key that may not delete",
        3,
        [],
        [
            "The key that --cos_credentials=env refers to may not do that on cos://{bucket}/backup/_spool/probe-… in bucket {bucket} (region ap-guangzhou). Grant it name/cos:DeleteObject there. (DeleteObject on cos://{bucket}/backup/_spool/probe-…: 403 AccessDenied (Access Denied., request id …))"
        ],
        _fault("access-denied", "DeleteObject"),
    ),
    Case(
        "a clock that is wrong",
        3,
        [],
        [
            "This machine's clock differs too much from COS's, so nothing can be signed: set it, for example by NTP. (GetBucket on cos://{bucket}/backup/_spool/: 403 RequestTimeTooSkewed (The difference between the request time and the current time is too large., request id …))"
        ],
        _clock,
    ),
    Case(
        "COS that fails",
        5,
        [],
        [
            "Gave up after … s and … attempts. COS refused a request to bucket {bucket} (region ap-guangzhou). (GetBucket on cos://{bucket}/backup/_spool/: 500 InternalError (We encountered an internal error. Please try again., request id …))"
        ],
        _fault("500"),
    ),
    Case(
        "COS that hangs",
        5,
        [],
        [
            "Gave up after … s and … attempts. bucket {bucket} (region ap-guangzhou) cannot be reached. Check --cos_region, --cos_endpoint and the network. (PutObject on cos://{bucket}/backup/_spool/probe-…: no answer (…))"
        ],
        _fault("hang", "PutObject"),
    ),
    Case(
        "a proxy that answers in HTML",
        5,
        [],
        [
            "Gave up after … s and … attempts. COS refused a request to bucket {bucket} (region ap-guangzhou). (GetBucket on cos://{bucket}/backup/_spool/: 502 Unknown)"
        ],
        _fault("html"),
    ),
    Case(
        "a folder below a file",
        5,
        ["--destination=file://{folder}/file/"],
        ["{folder}/file cannot be made: a part of its path is a file. Use another folder."],
    ),
]
