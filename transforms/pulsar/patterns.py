"""Topics by pattern, as Pulsar has it: a namespace, and a regular expression that a topic's own name matches whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from transforms.errors import ConfigurationError, SourceError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import login_of
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.wire import topics_of_namespace

_PARTS = 3


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """``persistent://tenant/namespace/regex``."""

    namespace: str
    """``tenant/namespace``."""
    expression: str

    @classmethod
    def parse(cls, text: str) -> TopicPattern:
        """Read ``--topic_pattern``: a name with a namespace as ``--topic`` has it. Raises ConfigurationError."""
        parts = text.removeprefix("persistent://").split("/", _PARTS - 1)
        namespace, expression = ("/".join(parts[:-1]), parts[-1]) if len(parts) == _PARTS else ("public/default", text)
        if not all(parts) or len(parts) == 2 or "://" in namespace:  # noqa: PLR2004 - neither a name nor a full one
            raise ConfigurationError(
                f"--topic_pattern={text}: write it as persistent://TENANT/NAMESPACE/EXPRESSION; tenant and namespace "
                "are names, not expressions."
            )
        try:
            re.compile(expression)
        except re.error as error:
            raise ConfigurationError(f"--topic_pattern={text}: no regular expression ({error}).") from None
        return cls(namespace, expression)

    def __str__(self) -> str:
        return f"persistent://{self.namespace}/{self.expression}"

    def matches(self, connection: PulsarConnection) -> list[str]:
        """Full names, without partitions, of the topics there are now; the broker's own topics are none.

        Raises SourceError and AccessError where the broker does not list them.
        """
        if urlsplit(connection.service_url).scheme in ("http", "https"):
            names = PulsarAdmin(connection, for_lookup=True).topics(self.namespace)
        else:
            token, tls = login_of(connection)
            names = topics_of_namespace(connection.service_url, self.namespace, token=token, tls=tls)
        topics = {TopicPartition.parse(name).topic for name in names}
        own = {topic: topic.rpartition("/")[2] for topic in topics}
        return sorted(
            topic for topic, name in own.items() if re.fullmatch(self.expression, name) and not name.startswith("__")
        )

    def none_there(self) -> SourceError:
        """What is said where a run finds no topic at all."""
        return SourceError(
            f"--topic_pattern={self}: the namespace {self.namespace} has no topic whose name matches. The whole "
            "name has to; a namespace that does not exist has none either."
        )
