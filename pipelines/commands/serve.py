"""``tdmq-backup serve``."""

# Only what runs imports what takes long to load, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.runs import StoreUrl, opened
from pipelines.commands.shown import told

if TYPE_CHECKING:
    from pipelines.rules.serve import Service

_MOST_RUNS = 100

_log = logging.getLogger("pipelines.rules.serve")


def serve(
    store: StoreUrl = None,
    runs: Annotated[int, typer.Option(metavar="N", min=1, max=_MOST_RUNS, help="How many at once.")] = 2,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Answer /healthz and /metrics there; or none.")
    ] = "127.0.0.1:9099",
    once: Annotated[
        bool, typer.Option("--once", help="Make what is due, and end with the highest exit code of the runs.")
    ] = False,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Of what is said on stderr.")] = "text",
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], typer.Option(help="From which on.")] = "INFO",
) -> None:
    """Run rules by their schedules, in the foreground, until Ctrl-C or SIGTERM.

    Several at once, also on several machines, share the work of one store.
    """
    from pipelines import logs, signals

    signals.listen()
    from pipelines.rules.database import STORE_VARIABLE
    from pipelines.rules.listening import listen_address, listening
    from pipelines.rules.metrics import Metrics
    from pipelines.rules.processes import Launch
    from pipelines.rules.serve import Service

    logs.set_up(log_level, log_format, client=False)
    with told(), ExitStack() as stack:
        address = None if once or listen == "none" else listen_address(listen)
        launch = Launch(
            log_format=log_format, log_level=log_level, environment={STORE_VARIABLE: store} if store else None
        )
        metrics = Metrics()
        service = Service(opened(store), launch, runs=runs, metrics=metrics)
        if address is not None:
            port = stack.enter_context(listening(address, metrics, service.unwell))
            _log.info("serving; http://%s:%d has /healthz and /metrics", address[0], port)
        signals.stands(lambda: _stopped(service))
        stack.enter_context(signals.ended_by(lambda *_: service.stop()))
        code = 0
        if once:
            code = service.once()
        else:
            service.serve()
    with signals.unbroken(code):
        sys.stderr.flush()
    raise typer.Exit(code)


def _stopped(service: Service) -> str:
    return f"{service.standing()}; what was broken off goes on when serve runs again."
