"""What a service tells Prometheus: counters of the runs it made, and gauges of how all rules of the store stand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipelines.rules.records import RunRecord, StoredRule
from pipelines.rules.schedule import parse_schedule
from pipelines.rules.store import RuleStore

PREFIX = "tdmq_backup_"

#: Gauges by rule, and what they tell.
_BY_RULE = {
    "last_success_timestamp_seconds": "When the last run that succeeded ended, in seconds since 1970; 0: none has.",
    "behind_seconds": "Age of the oldest turn that no run that succeeded has covered; 0 where there is none.",
    "running": "1 while a run of the rule holds its lease, on any machine.",
    "trouble": "1 where the last run of the rule did not succeed.",
    "enabled": "1 where the schedule runs the rule.",
}


class Metrics(Collector):
    """A registry of its own, which ``page`` writes out."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = self._counter("runs", "Runs that ended, by state.", "rule", "state")
        self._messages = self._counter("messages", "Messages of runs that ended.", "rule")
        self._bytes = self._counter("bytes", "Bytes of the files that ended runs wrote.", "rule")
        self._files = self._counter("files", "Files that ended runs wrote.", "rule")
        self._gaps = self._counter("gaps", "Gaps: messages that the broker had deleted before they were read.", "rule")
        self._failures = self._counter("store_failures", "Requests to the store that failed.")
        self._rules: dict[str, dict[str, float]] = {}
        self._leases = 0
        self._store_up = 0
        self.registry.register(self)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}{name}", what, labels, registry=self.registry)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    def ended(self, record: RunRecord) -> None:
        """Count a run that has ended."""
        self._runs.labels(record.rule_name, record.state.value).inc()
        self._messages.labels(record.rule_name).inc(record.messages)
        self._bytes.labels(record.rule_name).inc(record.bytes)
        self._files.labels(record.rule_name).inc(record.files)
        self._gaps.labels(record.rule_name).inc(record.gaps)

    def store_failed(self) -> None:
        """The store does not answer."""
        self._failures.inc()
        self._store_up = 0

    def store_answered(self) -> None:
        """It does."""
        self._store_up = 1

    def look(self, store: RuleStore, now: datetime) -> None:
        """See how the rules stand. Raises StoreError."""
        running, successes = store.running(), store.last_successes()
        self._leases = len(running)
        self._rules = {
            each.rule.name: {
                "last_success_timestamp_seconds": successes[each.id][1].timestamp() if each.id in successes else 0.0,
                "behind_seconds": seconds_behind(each, successes.get(each.id, (None, None))[0], now),
                "running": float(each.rule.name in running),
                "trouble": float(each.trouble is not None),
                "enabled": float(each.rule.enabled),
            }
            for each in store.all()
        }

    def collect(self) -> Iterator[Any]:
        """The gauges."""
        for name, what in _BY_RULE.items():
            family = GaugeMetricFamily(f"{PREFIX}{name}", what, labels=["rule"])
            for rule, values in self._rules.items():
                family.add_metric([rule], values[name])
            yield family
        yield GaugeMetricFamily(f"{PREFIX}leases", "Rules that run at this moment, on any machine.", value=self._leases)
        yield GaugeMetricFamily(f"{PREFIX}store_up", "1 where the store answers.", value=self._store_up)


def seconds_behind(stored: StoredRule, last_start: datetime | None, now: datetime) -> float:
    """Age of the oldest turn that no run that succeeded has covered; ``last_start``: when the last of them began.

    0 for a rule that is disabled, or has no turns. Where none has succeeded, turns count from the last edit on.
    """
    if not stored.rule.enabled:
        return 0.0
    turn = parse_schedule(stored.rule.schedule, stored.rule.timezone).next_turn(last_start or stored.changed)
    return max((now - turn).total_seconds(), 0.0) if turn is not None else 0.0
