"""What a person runs: the backup job and its command line."""

import logging


def _not_about_google(record: logging.LogRecord) -> bool:
    """Beam warns, at its import and before anything is set up, about clients of Google Cloud that nobody asked for."""
    return not record.getMessage().startswith("apitools not found")


logging.getLogger().addFilter(_not_about_google)
