"""Folders are read back into topics, whatever the topic is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.files.folders import Folders
from transforms.files.naming import Layout
from transforms.pulsar.messages import TopicPartition

WINDOW = 1_763_800_200_000
names = st.text(
    st.characters(codec="utf-8", exclude_characters="/", exclude_categories=("Cs",)), min_size=1, max_size=9
)
TEMPLATES = [
    "{cluster}/{namespace}/{topic}/dt=%Y-%m-%d/hh=%H/",
    "dt=%Y-%m-%d/{tenant}-x/{namespace}/{topic}/",
    "a%%b/{cluster}/{namespace}/{topic}/%j/{topic}/",
    "{cluster}/{namespace}/{topic}-%Y%m%d/",
    "{cluster}/{namespace}/%A-%d-%B-%G-%V-%u_{topic}/%a%b%y%U%W%H%M%S/",
]


@pytest.mark.parametrize("template", TEMPLATES)
@given(names, names, names, names, st.booleans())
def test_a_folder_tells_its_topic(template, cluster, namespace, topic, other, case_blind):
    layout = Layout("backup/", template, "Asia/Shanghai", case_blind=case_blind)
    name = f"persistent://{cluster}/{namespace}/{topic}"
    folder = layout.folder(TopicPartition(name, 3), WINDOW).removeprefix("backup/")
    folders = Folders(template)
    assert folders.topic_of(folder) == name
    assert folders.holds(folder, name)
    assert folders.holds(folder, f"persistent://{cluster}/{namespace}/{other}") == (other == topic)
    assert any(folder.startswith(prefix) for prefix in folders.prefixes_of(name))


DASHES = "{cluster}-{namespace}-{topic}/%Y/"


def test_a_folder_that_may_be_of_several_topics_leaves_it_to_the_records():
    folders = Folders(DASHES)
    assert folders.topic_of("pulsar-abc-shop-my-orders/2026/") is None
    assert folders.holds("pulsar-abc-shop-my-orders/2026/", "persistent://pulsar-abc/shop/my-orders")
    assert folders.topic_of("a-b-c/2026/") == "persistent://a/b/c"
    two = {"{cluster}/{namespace}/{topic}/", "{cluster}/{namespace}/{topic}-%Y/"}
    assert {Folders(each).topic_of("c/n/t-2026/") for each in two} == {
        "persistent://c/n/t-2026",
        "persistent://c/n/t",
    }


@pytest.mark.parametrize("folder", ["c/n/my-orders-2026011/", "c/n/my-orders-Y/", "c/n/20260101/"])
def test_a_date_has_the_length_that_it_is_written_with(folder):
    assert Folders("{cluster}/{namespace}/{topic}-%Y%m%d/").topic_of(folder) is None


def test_where_a_topic_is_looked_for():
    topic = "persistent://pulsar-x/ns/Orders"
    assert Folders().prefixes_of(topic) == ["pulsar-x/ns/Orders/dt=", "pulsar-x/ns/%4Frders/dt="]
    assert Folders("dt=%Y/{cluster}/{namespace}/{topic}/").prefixes_of(topic) == ["dt="]


def test_a_template_without_cluster_leaves_the_topic_to_the_records():
    folders = Folders("{topic}/%Y/")
    assert folders.topic_of("orders/2026/") is None
    assert folders.holds("orders/2026/", "persistent://a/b/orders")
    assert not folders.holds("orders2/2026/", "persistent://a/b/orders")


@pytest.mark.parametrize("folder", ["", "a/", "a/b/c/", "a/b/c/dt=2026-01-01/", "a/b/c/dt=2026-01-01/hh=01/more/"])
def test_another_folder_has_no_topic(folder):
    assert Folders().topic_of(folder) is None
