"""A plugin that Beam imports on each worker of a job with ``--log_format=json``: its log lines are JSON then."""

from pipelines import logs

logs.set_up_worker()
