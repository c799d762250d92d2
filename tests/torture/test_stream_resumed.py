"""Streams that are resumed, or begun again without their state: every message in exactly one object."""

from __future__ import annotations

from tests.torture.stream_ordeal import completes, goes_on, production


def test_a_stream_that_is_resumed_or_begun_anew_stores_every_message_once(torture, stream, ordeal):
    def start(*options: str) -> None:
        """With another number of subtasks each time."""
        stream.start(f"--parallelism={torture.random.randint(1, 3)}", *options)

    start()
    for _ in range(torture.count(1, 3)):
        with production(ordeal, small=60):
            goes_on(stream, ordeal)
            savepoint = stream.stop()
            ordeal.look()
            torture.say("stopped with a savepoint")
            start(f"--savepoint_path={savepoint}")
            goes_on(stream, ordeal)
            checkpoint = stream.last_checkpoint()
            stream.cancel()
            ordeal.look()
            torture.say("cancelled behind its back")
            start(f"--savepoint_path={checkpoint}")
            goes_on(stream, ordeal)
            stream.cancel()
            ordeal.look()
            torture.say("back to the savepoint, of which all that followed is stored and acknowledged")
            start(f"--savepoint_path={savepoint}")
            goes_on(stream, ordeal)
            stream.cancel()
            ordeal.look()
            torture.say("its state is lost")
            start("--start=subscription")
        completes(stream, ordeal)
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects, {ordeal.spooled} in parts: whole")
