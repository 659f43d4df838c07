"""Where texts are hashed makes no difference: the same clusters and the same state, to the byte. Ray where it is installed."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from ledgerline.clusters.near_duplicates import ClusterDocument, NearDuplicates
from ledgerline.engines import Engine, OneProcess, R, by_content
from ledgerline.errors import ConfigurationError
from resources import build_resources
from resources.engine import OneProcessEngine, RayEngine
from resources.environment import read_settings


class Backwards:
    """Answers in the order of shards, the last first, as a cluster may; and gives them in the order of the texts."""

    def map(self, function: Callable[[str], R], texts: Sequence[str]) -> Iterator[R]:
        answers = {place: function(texts[place]) for places in reversed(by_content(texts, 3)) for place in places}
        return (answers[place] for place in range(len(texts)))


def some_documents() -> list[ClusterDocument]:
    """Seeded: new texts, copies, edited copies, an id that comes twice, and one text that is no ASCII."""
    draw = random.Random(7)
    words = [f"{draw.choice('abcdefgh')}{number}" for number in range(3000)]
    texts = ["  ", "삼성전자 주요사항보고서 " * 40]
    for number in range(120):
        text = " ".join(draw.choices(words, k=60))
        if number % 3 == 1:
            text = texts[-1]
        elif number % 3 == 2:
            text = texts[-1].replace(texts[-1].split()[7], "changed")
        texts.append(text)
    documents = [ClusterDocument(str(number), text, issuer=str(number % 5)) for number, text in enumerate(texts)]
    return [*documents, ClusterDocument("5", "another text under a known id"), ClusterDocument("last", texts[9])]


def clustered(engine: Engine | None) -> tuple[list, bytes]:
    """Links and state after two calls: the second begins within the first one's documents."""
    documents, state = some_documents(), NearDuplicates()
    links = state.assign(documents[:60], engine) + state.assign(documents[50:], engine)
    return links, state.to_bytes()


@pytest.mark.parametrize("engine", [None, OneProcessEngine(), Backwards()], ids=["none", "one process", "backwards"])
def test_clusters_and_state_are_those_of_one_process(engine):
    links, state = clustered(OneProcess())
    assert clustered(engine) == (links, state)
    assert sum(link.linked_to is not None for link in links) > 40


def test_equal_texts_share_a_shard_and_every_place_is_in_one():
    texts = ["a", "b", "c", "a", "b", "삼성", "\ud800"]
    shards = by_content(texts, 3)
    assert sorted(place for places in shards for place in places) == list(range(7))
    of = {place: number for number, places in enumerate(shards) for place in places}
    assert (of[0], of[1]) == (of[3], of[4])
    assert by_content(texts, 3) == shards  # of the content alone: not of hash(), which differs between processes


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[RayEngine]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ledgerline[ray]'")
    yield RayEngine(shards=3, window=25)
    ray.shutdown()


def test_on_ray_clusters_and_state_are_those_of_one_process(ray_engine):
    assert clustered(ray_engine) == clustered(None)


def refuse(text: str) -> str:
    raise ValueError(f"no {text}")


def test_an_error_of_the_function_on_ray_is_its_own(ray_engine):
    with pytest.raises(ValueError, match="no x"):
        list(ray_engine.map(refuse, ["x"]))


def test_ray_that_is_not_installed_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match="install the extra `ray`"):
        list(RayEngine().map(str, ["x"]))


def test_the_engine_is_chosen_by_the_settings(tmp_path):
    def chosen(**variables: str) -> object:
        return build_resources(settings=read_settings(variables={"LEDGERLINE_HOME": str(tmp_path), **variables}))[
            "engine"
        ]

    assert type(chosen()) is OneProcessEngine
    on_ray = chosen(LEDGERLINE_ENGINE="ray", RAY_ADDRESS="ray://head.example.com:10001")
    assert isinstance(on_ray, RayEngine)
    assert on_ray.address == "ray://head.example.com:10001"


@pytest.mark.parametrize(("name", "value"), [("LEDGERLINE_ENGINE", "spark"), ("RAY_ADDRESS", "auto")])
def test_an_engine_or_an_address_that_is_none_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} is '{value}': set it to "):
        read_settings(variables={name: value})
