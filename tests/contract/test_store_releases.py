"""What every implementation of the Store port promises of recipes, deployments and traffic."""

import asyncio

import msgspec
import pytest

from octant.core.failure import Failed, FailureKind
from octant.core.ids import RouteId
from octant.ports.store import Store
from tests.contract.conftest import OpenStore
from tests.support.settlements import deployment, recipe, traffic


async def test_recipes_are_found_by_digest_and_listed_in_the_order_they_came(
    store: Store,
) -> None:
    given = [recipe("fast"), recipe("other", model="n"), recipe("precise", label="precise")]
    for each in given:
        await store.put_recipe(each)
    assert await store.recipe("sha256:precise") == given[2]
    assert await store.recipe("sha256:none") is None
    assert await store.recipes() == given
    assert await store.recipes("m") == [given[0], given[2]]


async def test_a_recipe_never_changes(store: Store) -> None:
    await store.put_recipe(recipe("fast"))
    await store.put_recipe(recipe("fast", description="another text under the same digest"))
    assert await store.recipes() == [recipe("fast")]


async def test_a_recipe_without_a_digest_is_refused(store: Store) -> None:
    with pytest.raises(Failed) as caught:
        await store.put_recipe(recipe("fast", digest=""))
    assert caught.value.failure.kind is FailureKind.INVALID_VALUE


async def test_deployments_are_replaced_by_id_and_removed(store: Store) -> None:
    await store.put_recipe(recipe("fast"))
    await store.put_deployment(deployment("a", "fast", created_unix_ns=9))
    await store.put_deployment(deployment("b", "fast", created_unix_ns=8))
    stopped = deployment("a", "fast", created_unix_ns=9, wanted=False)
    await store.put_deployment(stopped)
    assert await store.deployments() == [deployment("b", "fast", created_unix_ns=8), stopped]
    assert await store.delete_deployment(RouteId("b")) is True
    assert await store.delete_deployment(RouteId("b")) is False
    assert await store.deployments() == [stopped]


async def test_a_deployment_needs_its_recipe(store: Store) -> None:
    with pytest.raises(Failed, match="'sha256:fast'") as caught:
        await store.put_deployment(deployment("a", "fast"))
    assert caught.value.failure.kind is FailureKind.NOT_FOUND
    assert await store.deployments() == []


async def test_traffic_is_the_newest_split_and_keeps_its_history(store: Store) -> None:
    for version in (1, 2, 3):
        await store.put_traffic(traffic(version))
    await store.put_traffic(traffic(1, model="n"))
    assert await store.traffic() == [traffic(3), traffic(1, model="n")]
    assert await store.traffic_history("m", 2) == [traffic(3), traffic(2)]
    assert await store.traffic_history("nobody", 2) == []


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_traffic_moves_one_version_at_a_time(store: Store, version: int) -> None:
    await store.put_traffic(traffic(1))
    with pytest.raises(Failed, match="stands at version 1") as caught:
        await store.put_traffic(traffic(version, first=9))
    assert caught.value.failure.kind is FailureKind.CONFLICT
    assert await store.traffic() == [traffic(1)]


async def test_one_of_many_moves_the_traffic(store: Store) -> None:
    results = await asyncio.gather(
        *(store.put_traffic(traffic(1, first=caller)) for caller in range(20)),
        return_exceptions=True,
    )
    assert results.count(None) == 1
    (present,) = await store.traffic()
    assert present == traffic(1, first=results.index(None))


async def test_what_a_newer_version_wrote_is_kept(store: Store, make: OpenStore) -> None:
    newer = msgspec.structs.replace(recipe("fast"), unknown={"carbon_g": 3})
    await store.put_recipe(newer)
    other = make()
    await other.open()
    found = await other.recipe("sha256:fast")
    await other.close()
    assert found == newer
