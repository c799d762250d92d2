"""Inputs that are nearly right, wrong and absurd, for several targets."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.transforms.files.client_messages import wire_texts
from transforms.pulsar.positions import Position


def pieces(*words: str, most: int = 6) -> st.SearchStrategy[str]:
    """Texts of these words, of numbers and of anything."""
    numbers = st.one_of(st.integers(0, 70), st.integers(0, 2**70), st.sampled_from(["٣", "²", "00", "+1", "-1", "1e3"]))
    part = st.one_of(st.sampled_from(words), st.sampled_from(words), numbers.map(str), st.text(max_size=3))
    return st.lists(part, max_size=most).map("".join)


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were right, with some changed, and cut or grown at the end."""
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(0, 4))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(
                st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 34, 91, 123])
            )
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content) + draw(
        st.binary(max_size=4)
    )


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
long_ids = st.integers(-(2**63), 2**63 - 1)
positions = st.builds(Position, long_ids, long_ids, st.integers(0, 10**6))
topics = st.builds(
    "persistent://{}/{}/{}".format, wire_texts.filter(bool).map(repr), st.just("n"), pieces("a", "/", "%")
)
