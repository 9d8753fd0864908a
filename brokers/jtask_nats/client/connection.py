"""A connection to a NATS server or cluster: send, request, subscribe. nats-py's errors end here."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nats.errors import Error as NatsError

from jtask.errors import BrokerError, BrokerUnavailable, ConfigurationError, MessageRefused
from jtask.foreign_text import quoted
from jtask_nats.client.addresses import Address
from jtask_nats.client.callbacks import call_all, call_once, forget
from jtask_nats.client.certificates import Certificates
from jtask_nats.client.gate import Gate
from jtask_nats.client.greeting import Greeting
from jtask_nats.client.jetstream_api import API_TIMEOUT, call_api
from jtask_nats.client.logins import NOBODY, Login
from jtask_nats.client.nats_client import NatsClient
from jtask_nats.client.nats_errors import (
    ConnectionClosed,
    access_refused,
    inbox_not_permitted,
    is_access_error,
    no_answer,
    not_permitted,
    too_large,
)
from jtask_nats.client.outbox import Outbox
from jtask_nats.client.protocol import (
    HEADER_OVERHEAD,
    Handler,
    Reader,
    Reply,
    is_subject,
    publish_command,
)
from jtask_nats.client.requests import PendingRequests
from jtask_nats.client.server_errors import ServerErrors, denied_publish, denied_subscribe, say
from jtask_nats.client.shared_socket import SharedSocket
from jtask_nats.client.subscription import Subscription
from jtask_nats.client.versions import check_version

_FLUSH_TIMEOUT = 2.0  # seconds
_SUBSCRIBE_AGAIN = 1.0  # seconds after the server has denied it

__all__ = ["Connection", "Handler", "Reply", "Subscription"]

_log = logging.getLogger("jtask")


class Connection:
    """A connection that stays: it reconnects for ever, and renews its subscriptions.

    Made by `open`. All methods belong to the loop that opened it, except `write_from_thread` and
    `call_from_thread`.

    Attributes:
        greeting: How this process introduces itself to servers.

    Args:
        servers: URLs without credentials, for messages.
        greeting: See above.
    """

    def __init__(self, servers: Sequence[str], greeting: Greeting) -> None:
        self._loop = asyncio.get_running_loop()
        self._servers = ",".join(servers)
        self.greeting = greeting
        self._handlers: dict[bytes, Handler] = {}
        self._readers: dict[bytes, Reader] = {}
        self._subjects: dict[bytes, str] = {}
        self._numbers = itertools.count(1)
        self._socket = SharedSocket(self._loop)
        self._client = NatsClient(
            self._socket,
            self._handlers,
            self._readers,
            up=self._on_up,
            down=self._on_down,
            server_error=self._on_server_error,
            greeting=greeting,
        )
        self._outbox = Outbox(self._socket, self._client)
        self._requests = PendingRequests()
        self._up_event = asyncio.Event()
        self._reconnect_callbacks: list[Callable[[], None]] = []
        self._disconnect_callbacks: list[Callable[[], None]] = []
        self._denied_callbacks: list[Callable[[str], None]] = []
        self._close_callbacks: list[Callable[[], None]] = []
        self._opened = self._closed = False
        self._connect_deadline = 0.0
        self._last_error = ""
        self._server_errors = ServerErrors()
        self._inbox = ""
        self._replies = ""
        self._denied: set[str] = set()
        """Subscriptions that the server has denied, as far as is known."""

    @classmethod
    async def open(
        cls,
        servers: Sequence[str],
        *,
        name: str,
        connect_timeout: float,
        login: Login = NOBODY,
        certificates: Certificates = Certificates(),  # noqa: B008 - a value
        inbox_prefix: str = "_INBOX",
        gate: Gate | None = None,
    ) -> "Connection":
        """Connect to one of some servers, trying until the time is up.

        Args:
            servers: `nats://host:port` or `tls://host:port`; a user and password, or a token, in
                the first are used for all.
            name: What the server's monitoring shows.
            connect_timeout: Seconds.
            login: Who we are, unless a URL says it.
            certificates: For TLS; where there are any, a server without TLS is refused.
            inbox_prefix: Where answers arrive; the user must be permitted to subscribe there.
            gate: Says at each attempt where the one server is, and as whom to log in.

        Raises:
            BrokerUnavailable: No server accepted the connection in time.
            PermissionDenied: A server refused the user.
            BrokerTooOld: The server's version lacks something.
            ConfigurationError: A URL, a credential or a certificate will not do.
        """
        urls = [Address.parse(server) for server in servers]
        bare = [url.bare for url in urls]
        needs_tls = certificates.are_set or any(url.startswith("tls:") for url in bare)
        if certificates.are_set:
            certificates.context()  # what will not do is told before a server is looked for
        greeting = Greeting(name, urls[0].login or login, certificates if needs_tls else None, gate)
        connection = cls(bare, greeting)
        connection._connect_deadline = connection._loop.time() + connect_timeout
        try:
            await connection._client.connect_to(
                bare,
                connect_timeout,
                connection._on_error,
                lambda: connection._last_error,
            )
            check_version(connection.server_version)
            await connection._open_inbox(inbox_prefix, connect_timeout)
        except BaseException:
            await connection.close()
            raise
        connection._opened = True
        return connection

    @property
    def url(self) -> str:
        """The server connected to, or all of them; without credentials."""
        return self._client.url or self._servers

    @property
    def server_version(self) -> str:
        """Version of the server connected to last."""
        return str(self._client.info.get("version", ""))

    @property
    def is_cluster(self) -> bool:
        """Whether the server is one of several, which may answer differently for a moment."""
        return "cluster" in self._client.info

    @property
    def max_payload(self) -> int:
        """What the server takes at most, headers and body together, in bytes."""
        return self._client.max_payload

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached right now, as far as is known."""
        return self._client.is_up

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call a function after each reconnect, when subscriptions are back in place."""
        self._reconnect_callbacks.append(callback)

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call a function each time the connection is lost."""
        self._disconnect_callbacks.append(callback)

    def on_denied(self, callback: Callable[[str], None]) -> None:
        """Call a function with each subject that the server does not permit us to use."""
        self._denied_callbacks.append(callback)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call a function when the connection is closed for good."""
        self._close_callbacks.append(callback)

    def new_inbox(self) -> str:
        """Return a subject that nobody else uses."""
        return f"{self._inbox}.{next(self._numbers)}"

    def subscribe(
        self, subject: str, handler: Handler, reader: Callable[[bytes], Reader] | None = None
    ) -> Subscription:
        """Hand the messages of a subject (wildcards allowed) to a function.

        Args:
            subject: What to listen on.
            handler: Called on the loop, one message after the other; must not block.
            reader: Makes what takes many messages at once, of the subscription's number.
        """
        self.check(subject, b"", b"")
        sid = b"%d" % next(self._numbers)
        self._handlers[sid] = handler
        self._subjects[sid] = subject
        if reader is not None:
            self._readers[sid] = reader(sid)
        self.write(b"SUB %b %b\r\n" % (subject.encode(), sid))
        # Not at the end of this pass: a thread may publish in the same instant, and the answer must
        # find the subscription.
        self._outbox.flush()
        return Subscription(self, sid, subject)

    def unsubscribe(self, sid: bytes) -> None:
        """End a subscription, by its number; nothing happens when there is none."""
        if self._handlers.pop(sid, None) is not None:
            del self._subjects[sid]
            self._readers.pop(sid, None)
            self.write(b"UNSUB %b\r\n" % sid)

    def send(self, subject: str, data: bytes, *, headers: bytes = b"", reply: str = "") -> None:
        """Publish without an answer from a stream; written once this pass of the loop is over.

        While disconnected, what has no reply address (acks, events) is kept up to a limit, oldest
        dropped first, and sent after the reconnect. What has one is dropped: the sender must repeat
        its request then.

        Args:
            subject: Where to.
            data: The message.
            headers: Header lines, each with its line end.
            reply: Where an answer is expected.

        Raises:
            BrokerError: It is larger than the server takes; nothing was sent.
        """
        self.check(subject, headers, data)
        command = publish_command(subject, reply, headers, data)
        if reply:
            self.write(command)
        else:
            self._outbox.write_or_keep(command)

    def respond(self, replies: Sequence[str], data: bytes) -> None:
        """Do `send` for a few bytes to reply subjects that the server gave: acks."""
        # Without `check`: this is the hot path of acks, and the server made the subjects.
        end = f"  {len(data)}\r\n{data.decode()}\r\n"
        self._outbox.write_or_keep(f"PUB {f'{end}PUB '.join(replies)}{end}".encode())

    async def request(
        self, subject: str, payload: bytes = b"", *, headers: bytes = b"", timeout: float = 5.0
    ) -> Reply:
        """Send a request and return the first reply; without responders it has the status 503.

        While disconnected it waits for the connection, within the timeout.

        Args:
            subject: Where the responders listen.
            payload: The request.
            headers: Header lines, each with its line end.
            timeout: Seconds.

        Raises:
            BrokerUnavailable: No answer in time, or the connection was lost meanwhile: whether
                the request was executed is not known.
            PermissionDenied: We may not publish to this subject.
            BrokerError: It is larger than the server takes; nothing was sent.
        """
        self.check(subject, headers, payload)
        # All inboxes are under one subscription, so a request costs no SUB and UNSUB of its own.
        inbox = f"{self._inbox}r.{next(self._numbers)}"
        answer: asyncio.Future[Reply] = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self.until_up()
                if self._replies in self._denied:
                    raise self._replies_denied(subject)
                self._requests.add(inbox, subject, answer)
                self.write(publish_command(subject, inbox, headers, payload))
                return await answer
        except TimeoutError:
            state = "connected" if self.is_connected else "not connected"
            raise no_answer(subject, self.url, timeout, state) from None
        finally:
            self._requests.forget(inbox)
            if answer.done() and not answer.cancelled():
                # Retrieved, even if this was cancelled in the same moment: else asyncio logs it.
                answer.exception()

    async def api(
        self,
        suffix: str,
        payload: Mapping[str, object] | None = None,
        *,
        timeout: float = API_TIMEOUT,
    ) -> dict[str, Any]:
        """Call `$JS.API.<suffix>`; what passes by itself (no leader yet) is tried again.

        Args:
            suffix: Which call, with the names of stream and consumer.
            payload: Its parameters.
            timeout: Seconds to try.

        Returns:
            dict[str, Any]: The answer.

        Raises:
            ApiError: JetStream refused.
            BrokerUnavailable: No answer in time.
            PermissionDenied: We may not call this.
        """
        return await call_api(self, suffix, payload, timeout)

    async def until_up(self) -> None:
        """Wait for the connection; raises BrokerUnavailable when it is closed for good."""
        if not self._client.is_up:
            if self._closed:
                raise ConnectionClosed(f"the connection to {self._servers} is closed")
            await self._up_event.wait()

    async def flush(self, timeout: float = _FLUSH_TIMEOUT) -> None:
        """Wait until the server has processed everything sent before.

        Raises:
            BrokerUnavailable: It did not in time.
        """
        self._outbox.flush()
        try:
            async with asyncio.timeout(timeout):
                # nats-py writes its PING past our buffer, so that was emptied first.
                await self._client.flush(timeout=int(timeout) + 1)
        except (TimeoutError, NatsError, OSError) as error:
            raise no_answer("PING", self.url, timeout, str(error)) from None

    async def close(self) -> None:
        """Send what is pending, then close for good."""
        if self._closed:
            return
        self._closed = True  # first: the disconnect that follows is no reason for a warning
        if self._client.is_up:
            try:
                await self.flush()
            except BrokerUnavailable as error:
                _log.debug("closing without a final answer: %s", error)
        await self._client.shut()
        self._fail_requests("the connection was closed")
        call_once(self._close_callbacks)
        forget(self._reconnect_callbacks, self._disconnect_callbacks, self._denied_callbacks)
        forget(self._handlers, self._readers)

    def abandon(self) -> None:
        """Close a forked child's copy of the socket: the connection stays the parent's."""
        self._socket.abandon()

    def write(self, command: bytes) -> None:
        """Write a whole command in this pass of the loop; dropped when disconnected."""
        self._outbox.write(command)

    def write_from_thread(self, command: bytes, *, direct: bool) -> None:
        """Write a whole command from a thread that is not the loop's; dropped when disconnected.

        Args:
            command: Whole commands.
            direct: Let the thread itself write, where it can. Quicker for one message; when many
                threads write, fewer and larger writes by the loop are quicker.

        Raises:
            BrokerUnavailable: This is a forked child, or the loop is gone.
        """
        if not (direct and self._socket.write_from_thread(command)):
            self.call_from_thread(self.write, command)

    def call_from_thread(self, callback: Callable[..., None], *args: object) -> None:
        """Call a function on the loop, from another thread; raises as `write_from_thread` does."""
        if not self._socket.is_own():
            raise BrokerUnavailable(
                "this connection belongs to the parent process; open a new one after the fork"
            )
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        # call_soon_threadsafe raises it once the loop is closed.
        except RuntimeError:
            raise BrokerUnavailable(f"the connection to {self._servers} is closed") from None

    def check(self, subject: str, headers: bytes, body: bytes) -> int:
        """Refuse a message that would break the connection, and return its size.

        Raises:
            MessageRefused: It is larger than the server takes, or the subject is none.
        """
        if not is_subject(subject):
            raise MessageRefused(
                f"{quoted(subject)} is not a valid NATS subject: "
                "it is empty, too long or contains spaces"
            )
        size = len(body) + (len(headers) + HEADER_OVERHEAD if headers else 0)
        if size > self._client.max_payload:
            raise too_large(subject, size, self._client.max_payload)
        return size

    async def _open_inbox(self, prefix: str, timeout: float) -> None:
        self._inbox = f"{prefix}.{secrets.token_hex(8)}"
        self._replies = f"{self._inbox}r.*"
        self.subscribe(self._replies, self._requests.on_reply)
        # A denied SUB is answered with -ERR only, and after the PONG it must have arrived.
        await self.flush(timeout)
        if denied_subscribe(self._last_error) is not None:
            raise inbox_not_permitted(self._replies, self.url)

    def _on_up(self) -> None:
        # Subscriptions first: what is sent next may be answered at once.
        lines = [b"SUB %b %b\r\n" % (s.encode(), sid) for sid, s in self._subjects.items()]
        self._outbox.begin_anew(lines)
        self._up_event.set()
        self._last_error = ""
        self._server_errors.reset()
        self._denied.clear()
        if self._opened:
            call_all(self._reconnect_callbacks)
            say(_log, logging.INFO, "reconnected to the NATS server at %s", self.url)

    def _on_down(self, reason: str) -> None:
        self._up_event.clear()
        self._fail_requests(f"the connection was lost: {reason}")
        if self._opened and not self._closed:
            call_all(self._disconnect_callbacks)
            text = "connection to the NATS server at %s lost: %s"
            say(_log, logging.WARNING, text, self.url, reason)

    def _fail_requests(self, reason: str) -> None:
        place = f"from the NATS server at {self._servers}: {reason}"
        kind = ConnectionClosed if self._closed else BrokerUnavailable
        self._requests.fail_all(lambda s: kind(f"no answer on {s} {place}"))

    def _on_server_error(self, text: str) -> None:
        self._last_error = text
        if self._opened:
            self._server_errors.log(text, self.url)
        if (subject := denied_publish(text)) is not None:
            self._requests.fail(subject, not_permitted("publish to", subject, self.url))
            self._notify_denied(subject)
        elif self._opened and (subject := denied_subscribe(text)) is not None:
            self._on_subscription_denied(subject)

    def _on_subscription_denied(self, subject: str) -> None:
        # A permission was revoked while we were subscribed. The server does not say when it is
        # granted again: only trying shows it.
        self._loop.call_later(_SUBSCRIBE_AGAIN, self._subscribe_again, subject)
        self._denied.add(subject)
        if subject == self._replies:
            # They would wait for their whole timeout: their replies are lost.
            self._requests.fail_all(self._replies_denied)
        self._notify_denied(subject)

    def _replies_denied(self, subject: str) -> BrokerUnavailable:
        reason = not_permitted("subscribe to", self._replies, self.url)
        return BrokerUnavailable(f"no answer on {subject} can be received: {reason}")

    def _subscribe_again(self, denied: str) -> None:
        """Ask for subscriptions again; the server ignores those that it has."""
        self._denied.discard(denied)
        if self._client.is_up:
            for sid, subject in self._subjects.items():
                if subject == denied:
                    self.write(b"SUB %b %b\r\n" % (subject.encode(), sid))

    def _notify_denied(self, subject: str) -> None:
        for callback in self._denied_callbacks:
            callback(subject)

    async def _on_error(self, error: Exception) -> None:
        """Take an error of nats-py while connecting; raising here ends the first attempt."""
        text = (str(error) or type(error).__name__).removeprefix("nats: ").strip("'")
        refusal = self._refusal(error, text)
        if refusal is not None and not self._opened:
            raise refusal
        if refusal is not None:
            # It does not pass by itself; what else is wrong, the lost connection has told.
            self._server_errors.log_line(f"cannot reconnect: {refusal}")
        elif text != self._last_error:
            _log.debug("the NATS server at %s cannot be reached: %s", self._servers, text)
        self._last_error = text
        if not self._opened and self._loop.time() > self._connect_deadline:
            # asyncio.wait_for, which nats-py connects with, can swallow the timeout's cancellation.
            raise TimeoutError

    def _refusal(self, error: Exception, text: str) -> Exception | None:
        if isinstance(error, (BrokerError, ConfigurationError)):
            return error
        if is_access_error(text):
            return access_refused(self._servers, text, self.greeting.login.origin)
        return None
