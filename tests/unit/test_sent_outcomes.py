"""The answer to an outcome comes before or after the news that its run is over."""

import pytest

from jtask.errors import BrokerError, BrokerUnavailable
from jtask.worker.sent_outcomes import SentOutcome


@pytest.mark.parametrize("answer", [True, False, BrokerUnavailable("away")])
@pytest.mark.parametrize("is_answered_first", [True, False])
def test_the_answer_is_told_once_whichever_comes_first(
    answer: bool | BrokerError, is_answered_first: bool
) -> None:
    sent = SentOutcome()
    told: list[bool | BrokerError] = []
    if is_answered_first:
        sent.answered(answer)
        sent.then(told.append)
    else:
        sent.then(told.append)
        assert told == []
        sent.answered(answer)
    assert told == [answer]
