"""The command ``tdmq-backup-worker``: one worker process of a job on Flink, without a container.

It is what Beam's ``--environment_type=PROCESS`` starts, with an id and the address of the service that tells all else.
Its log goes to the task manager's.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Sequence

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
from google.protobuf import json_format, text_format

from transforms.memory import return_freed_memory, seldom_look_for_cycles

_ANSWER_SECONDS = 60
_PARENT_SECONDS = 0.5


def main(argv: Sequence[str] | None = None) -> None:
    """Work until the runner says that it is over, or is gone."""
    parser = argparse.ArgumentParser(prog="tdmq-backup-worker", description=__doc__)
    parser.add_argument("--id", required=True, help="name of the worker, as the runner gives it")
    parser.add_argument("--provision_endpoint", required=True, metavar="HOST:PORT", help="the runner's service")
    # Some runners tell more on the command line; the service tells it as well.
    options, _ = parser.parse_known_args(argv)
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    os.environ.update(_environment(options.id, options.provision_endpoint))
    return_freed_memory()
    seldom_look_for_cycles()
    sdk_worker_main.main([])


def _environment(worker: str, endpoint: str) -> dict[str, str]:
    """What Beam's worker expects in its environment, asked of the runner."""
    with grpc.insecure_channel(endpoint) as plain:
        channel = grpc.intercept_channel(plain, WorkerIdInterceptor(worker))
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = service.GetProvisionInfo(request, timeout=_ANSWER_SECONDS, wait_for_ready=True).info
    return {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.control_endpoint),
        "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.logging_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }


def _end_with(parent: int) -> None:
    """A task manager that is killed leaves its workers behind; one of them might store on, beside its successor."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
