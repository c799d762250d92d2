"""Saved backups: rules, the runs that a schedule makes of them, and their log. Callable without a terminal.

::

    model.py       what a rule is
    arguments.py   a rule as the options of the job, and all that is checked of it
    schedule.py    when it runs
    store.py       where rules, runs and positions are kept; run_log.py, leases.py, judging.py, rows.py
    database.py    the database behind it; tables.py, migrations/
    perform.py     one run, with its lease and its record
    serve.py       the service that makes what is due; processes.py, child.py, metrics.py, listening.py
    streams.py     a rule without an end: its job on Flink, submitted, watched and found again
"""
