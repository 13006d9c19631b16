"""What came of the jobs of upkeep outlives the store, and is bounded."""

import msgspec
from sqlalchemy import URL

from sessions.store import Store
from sessions.store.supervision.upkeep_runs import KEPT_OF_ONE, MOST_CHARACTERS, Known, Run


async def test_a_run_is_one_row_from_its_begin_to_its_end_and_the_newest_are_kept(url: URL) -> None:
    store = await Store.open(url)
    begun = Run("backups", 1_767_225_600.123456, 1_767_225_600.0)
    await store.upkeep_runs.save(begun)
    ended = msgspec.structs.replace(
        begun, ended_at=1_767_225_601.5, outcome="ok", result="x" * (MOST_CHARACTERS + 1)
    )
    await store.upkeep_runs.save(ended)
    other = Run("logs", 1.0, None, 2.0, "failed", "No.")
    await store.upkeep_runs.save(other)
    assert await store.upkeep_runs.known() == {}
    await store.upkeep_runs.remember({"gone": Known("off", 1.0)})
    await store.upkeep_runs.remember({"logs": Known("10 3 * * *", 2.5)})
    await store.close()

    store = await Store.open(url)
    kept = msgspec.structs.replace(ended, result="x" * MOST_CHARACTERS)
    assert await store.upkeep_runs.all() == [other, kept]
    assert await store.upkeep_runs.known() == {"logs": Known("10 3 * * *", 2.5)}
    for number in range(KEPT_OF_ONE):
        await store.upkeep_runs.save(Run("backups", 1_800_000_000.0 + number))
    runs = await store.upkeep_runs.all()
    assert len([run for run in runs if run.job == "backups"]) == KEPT_OF_ONE
    assert kept not in runs
    assert other in runs, "another job's are another's"
    await store.close()
