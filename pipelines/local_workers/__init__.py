"""A run on this machine that is shared among worker processes: each brings some of the partitions into files.

::

    the run's process ──starts──▶ host ──forks──▶ worker 0, worker 1, …
            ▲                                        │
            └──── results, progress, log, errors ────┘

The process of the run checks everything before, and acknowledges behind; meanwhile it shows the progress, gathers the
results and writes the manifests, for which all partitions of a topic have to be known. ``processes`` is its side.

The host is a Python of its own. It loads what a worker needs, and forks while it has no thread but its main one, nor
any connection: the client of the broker and gRPC know nothing of forks.

Each worker has a socket to the process of the run, whose end is the end of both.
"""
