"""Read the answers of a stream that follow one another in what has arrived, all in one step."""

import re
from collections.abc import Callable

PLACE_MARK = "-"
"""Stands between what a group of messages is called and the place of one of them in it."""


class AnswerReader:
    """Take those that say no more than that a message of a group is stored, as nearly all do.

    Where anything else begins, it stops: that is for the parser.

    Args:
        prefix: What the subjects begin with; what the group is called and a place follow.
        sid: Of the subscription, as it stands on the wire.
        take: Called with what a group is called and the places of messages in it, in their order.
    """

    __slots__ = ("_all", "_each", "_take")

    def __init__(self, prefix: str, sid: bytes, take: Callable[[str, list[int]], None]) -> None:
        token = b"([0-9]+)%b([0-9]+)" % PLACE_MARK.encode()
        head = b"MSG %b%b %b ([0-9]+)\r\n" % (re.escape(prefix.encode()), token, re.escape(sid))
        answer = head + rb'(\{"stream":"[^"\r\n]*", ?"seq":[0-9]+\})' + b"\r\n"
        self._each = re.compile(answer)
        self._all = re.compile(b"(?:%b)*" % answer.replace(b"([0-9]+)", b"[0-9]+"))
        self._take = take

    def read(self, data: bytes, at: int) -> int:
        """Take what there is at a place.

        Args:
            data: What has arrived.
            at: Where a message begins, or nothing more is.

        Returns:
            int: Where to go on: the same place, if there is none.
        """
        found = self._all.match(data, at)
        end = at if found is None else found.end()
        if end == at:
            return at
        answers = self._each.findall(data, at, end)
        # Else somebody has made the look of more than one message with a single one.
        if [int(answer[2]) for answer in answers] != [len(answer[3]) for answer in answers]:
            return at
        groups: dict[bytes, list[int]] = {}
        for group, place, _, _ in answers:
            groups.setdefault(group, []).append(int(place))
        for group, places in groups.items():
            self._take(group.decode(), places)
        return end
