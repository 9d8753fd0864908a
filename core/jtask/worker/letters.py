"""Keep runs that nobody will execute any more among the dead letters."""

import logging
from dataclasses import replace

from jtask.contract import BLOB_MARGIN, BlobStore, Delivery
from jtask.errors import EnvelopeError, MessageRefused
from jtask.execution.dispositions import DeadLetterBody
from jtask.foreign_text import cut
from jtask.settings import get_settings
from jtask.wire.envelope import Envelope
from jtask.wire.envelope_reader import EnvelopeReader
from jtask.wire.history import bare
from jtask.worker.insistence import Insist

LONGEST_REASON = 2000
"""Characters of why a message was set aside."""
_log = logging.getLogger("jtask.worker")


class Letters:
    """Dead-letter deliveries; on the I/O thread.

    Args:
        blobs: Where arguments are that need room.
        envelopes: Reads messages.
        insist: Repeats writes.
    """

    def __init__(self, blobs: BlobStore, envelopes: EnvelopeReader, insist: Insist) -> None:
        self._blobs = blobs
        self._envelopes = envelopes
        self._insist = insist

    async def keep(self, delivery: Delivery, envelope: Envelope, letter: DeadLetterBody) -> None:
        """Dead-letter a message, its arguments as a blob where they leave no room for the rest.

        Args:
            delivery: The message.
            envelope: What it says.
            letter: What is said about it.
        """
        if envelope.blob is not None:
            await self._let_end_with_letter(delivery.run_id, envelope)
        reason, body = cut(letter.reason, LONGEST_REASON), letter.body
        try:
            await self._insist(lambda: delivery.dead_letter(reason, body))
        except MessageRefused:
            head = body.partition(b"\n")[0]
            message = await self._without_payload(delivery)
            if not message:
                reason = f"{reason} (its {len(delivery.body)} bytes are too many to be kept)"
            await self._insist(lambda: delivery.dead_letter(reason, b"%b\n%b" % (head, message)))

    async def _without_payload(self, delivery: Delivery) -> bytes:
        """Move the arguments in a message to a blob; empty when it cannot be read."""
        try:
            envelope = self._envelopes.read(delivery.body)
        except EnvelopeError:
            return b""
        payload = envelope.payload
        if envelope.blob is None:
            await self._insist(lambda: self._put_for_letter(delivery.run_id, payload))
            envelope = envelope.with_blob(payload)
        return replace(envelope, history=bare(envelope.history)).encode()

    async def _let_end_with_letter(self, run_id: str, envelope: Envelope) -> None:
        """Let a run's arguments end soon after its dead letter, whose end nobody is told of."""

        async def limit() -> None:
            arguments: bytes | None = envelope.payload
            if not arguments:  # not fetched
                arguments = await self._blobs.get(f"{run_id}.args", at_most=envelope.blob)
            if arguments is not None:
                await self._put_for_letter(run_id, arguments)

        try:
            await self._insist(limit)
        except Exception:
            # The letter is worth more than the room that its arguments take.
            _log.exception("the arguments of run %s outlive its dead letter", run_id)

    async def _put_for_letter(self, run_id: str, arguments: bytes) -> None:
        life = get_settings().dead_letter_ttl + BLOB_MARGIN
        await self._blobs.put(f"{run_id}.args", arguments, ttl=life)
