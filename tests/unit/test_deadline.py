from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.deadline import resolve
from slackwater.model.errors import BadInput

SENT = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", SENT + timedelta(seconds=90)),
        ("90m", SENT + timedelta(minutes=90)),
        ("6h", SENT + timedelta(hours=6)),
        ("2d", SENT + timedelta(days=2)),
        ("1d12h", SENT + timedelta(hours=36)),
        ("2026-12-01T06:00:00Z", datetime(2026, 12, 1, 6, tzinfo=UTC)),
        ("2026-12-01T06:00:00+02:00", datetime(2026, 12, 1, 4, tzinfo=UTC)),
    ],
)
def test_a_deadline_is_a_moment_or_a_time_from_sending(text: str, expected: datetime) -> None:
    assert resolve(text, SENT) == expected
    assert resolve(text, SENT).tzinfo is UTC


def test_a_relative_deadline_counts_from_sending_in_any_zone() -> None:
    assert resolve("1h", SENT.astimezone(timezone(timedelta(hours=5)))) == SENT + timedelta(hours=1)


@pytest.mark.parametrize(
    "text", ["", "6", "h", "-6h", "6 h", "0s", "0d0h", "6h1d", "1.5h", "tomorrow", "2026-12-01T06:00:00"]
)
def test_what_is_no_deadline_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadInput, match=r"2026-12-01T06:00:00Z.*6h"):
        resolve(text, SENT)


@pytest.mark.parametrize("text", ["999999999d", "9999-12-31T23:59:59-12:00"])
def test_a_deadline_beyond_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        resolve(text, SENT)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_and_never_repeated(text: str) -> None:
    try:
        assert resolve(text, SENT).tzinfo is UTC
    except BadInput as exc:
        assert len(text) < 6 or text not in exc.message
