"""What a person runs: the backup job and its command line."""

import logging

from transforms.errors import BackupError


def _not_about_google(record: logging.LogRecord) -> bool:
    """Beam warns, at its import and before anything is set up, about clients of Google Cloud that nobody asked for."""
    return not record.getMessage().startswith("apitools not found")


def _not_an_error_of_ours(record: logging.LogRecord) -> bool:
    """Beam logs what a stage raised with its traceback; of our own errors the sentence is printed in the end."""
    return record.exc_info is None or not isinstance(record.exc_info[1], BackupError)


logging.getLogger().addFilter(_not_about_google)
logging.getLogger("apache_beam.runners.common").addFilter(_not_an_error_of_ours)
