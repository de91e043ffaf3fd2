"""Names that may never change: what was once named so is found under no other name."""

import base64
import hashlib

from hypothesis import example, given
from hypothesis import strategies as st

from slackwater.model import ids


@given(st.text(st.characters(codec="utf-8")))
@example("")
def test_a_name_is_the_beginning_of_the_lower_case_base32_of_a_sha256(text):
    digest = hashlib.sha256(text.encode()).digest()
    assert ids.h(text) == base64.b32encode(digest).decode().lower()[:20]


def test_the_names_of_today_are_those_of_ever():
    assert ids.job_of_line("r1", "a", 1) == ids.h("r1|a")
    assert ids.h("slackwater") == "bqkpaa33nmrnkjsq2dga"
