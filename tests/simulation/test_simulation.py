"""The fleet in simulated time: small and dense stories, and proof that the invariants catch what
they should.

The large ones (thousands of sessions for days), and more of the dense ones, are `make simulate`'s,
which CI runs.
"""

import inspect

import pytest

from scripts.simulation.__main__ import dense_stories, small_stories
from scripts.simulation.faults import KINDS, Story
from scripts.simulation.running import run_story
from scripts.simulation.shrinking import shrink
from tests.simulation.mutations import MUTATIONS, Mutation

DENSE = dense_stories(1000, 4)
"""So many that all faults are among them, and that each mutation shows in one."""
FEW = small_stories(2000, 24)
"""Fleets too small for the number of closes to tell an outage; each takes a tenth of a second."""


@pytest.mark.parametrize("story", DENSE, ids=lambda story: str(story.seed))
def test_much_trouble_at_a_time_breaks_no_promise(story: Story) -> None:
    assert run_story(story).broken is None


@pytest.mark.parametrize("story", FEW, ids=lambda story: f"{story.seed}, {story.sessions} sessions")
def test_fleets_of_one_two_and_four_keep_every_promise(story: Story) -> None:
    assert run_story(story).broken is None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_variant_is_caught_by_the_invariant_that_it_names(mutation: Mutation) -> None:
    """Its sentence says what was broken; the same stories pass when nothing is (see above)."""
    stories = [mutation.story] if mutation.story else FEW if mutation.small else DENSE
    told: list[str | None] = []
    with mutation.applied():
        for story in stories:
            told.append(run_story(story, mutation.parts).broken)
            if mutation.caught in (told[-1] or ""):
                return
    pytest.fail(f"{mutation.sentence} What was seen instead: {told}")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_variant_can_be_called_as_the_original_is(mutation: Mutation) -> None:
    """Or it would be a crash that is caught, and no invariant."""
    for owner, name, broken in mutation.patches:
        original = getattr(owner, name)
        if not callable(original):
            continue
        parameters = inspect.signature(original).parameters.values()
        required = [None for one in parameters if one.default is one.empty]
        optional = {one.name: None for one in parameters if one.default is not one.empty}
        inspect.signature(broken).bind(*required, **optional)
        assert inspect.iscoroutinefunction(broken) == inspect.iscoroutinefunction(original)


def test_a_mutations_own_story_passes_when_nothing_is_broken() -> None:
    for mutation in MUTATIONS:
        if mutation.story is not None:
            assert run_story(mutation.story).broken is None


def test_the_same_seed_tells_the_same_story() -> None:
    first, second = (run_story(DENSE[0]) for _ in range(2))
    assert (first.steps, first.logins) == (second.steps, second.logins)


def test_every_fault_of_the_grammar_is_played() -> None:
    told = {fault.kind for story in DENSE for fault in story.faults}
    assert told == KINDS.keys()


def test_a_failing_story_is_made_shorter_and_can_be_replayed() -> None:
    mutation = next(mutation for mutation in MUTATIONS if mutation.name == "duels without an end")
    with mutation.applied():
        fails = lambda story: run_story(story, mutation.parts).broken is not None  # noqa: E731
        long = next(story for story in DENSE if fails(story))
        short = shrink(long, fails, budget_seconds=180)
        assert fails(Story.from_json(short.as_json()))
    assert len(short.faults) <= 2
    assert short.faults[-1].kind == "440 duel"
    assert run_story(short).broken is None
