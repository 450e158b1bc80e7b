"""Changes are audited, stored, in force, in that order; acknowledged ones outlive a restart.

The store is the real one; the fleet writes down what it was told, and disks fail when asked to.
"""

from typing import Any

import pytest

from octant.core.failure import Failed, FailureKind
from octant.core.ids import ReleaseId, RouteId, TenantId
from octant.lifecycle.recipe_files import RecipeFile
from octant.ports.store import Store
from tests.contract.conftest import OpenStore
from tests.support.desk import CALLER, R1, R2, Desk, FailingAudit, recipe
from tests.support.policies import PERMIT_ALL, governor


@pytest.fixture
async def desk(store: Store) -> Desk:
    return await Desk(store).start(recipe("fast"), recipe("precise"))


async def test_the_first_start_deploys_both_routes_as_one_release(desk: Desk) -> None:
    assert [d.id for d in desk.fleet.wanted()] == ["fast@m-1", "precise@m-1"]
    assert desk.fleet.splits == {"m": {R1: 100}}
    assert await desk.actions() == ["recipe.add"] * 2 + ["deployment.add"] * 2 + ["traffic.set"]


async def test_a_second_start_changes_nothing_and_records_nothing(desk: Desk) -> None:
    before = await desk.actions()
    await desk.start(recipe("fast"), recipe("precise"))
    assert [d.id for d in desk.fleet.wanted()] == ["fast@m-1", "precise@m-1"]
    assert await desk.actions() == before


async def test_what_was_acknowledged_is_wanted_after_a_restart(desk: Desk, make: OpenStore) -> None:
    await desk.on().deploy(CALLER, "m-fast", R2)
    await desk.on().set_traffic(CALLER, "m", {R1: 0, R2: 5}, 1)
    await desk.on().drain(CALLER, RouteId("precise@m-1"))
    reopened = make()
    await reopened.open()
    try:
        again = await Desk(reopened).start(recipe("fast"), recipe("precise"))
        assert [d.id for d in again.fleet.wanted()] == ["fast@m-1", "fast@m-2"]
        assert again.fleet.splits == {"m": {R1: 0, R2: 5}}
    finally:
        await reopened.close()


async def test_another_artifact_is_the_next_release_with_the_traffic_of_the_last(
    desk: Desk,
) -> None:
    await desk.start(recipe("fast", "b"), recipe("precise", "b"))
    assert [d.id for d in desk.fleet.wanted()] == ["fast@m-2", "precise@m-2"]
    assert [d.id for d in await desk.store.deployments()] == ["fast@m-2", "precise@m-2"]
    assert desk.fleet.splits == {"m": {R2: 100}}


async def test_a_server_for_another_model_leaves_deployments_of_the_settings_alone(
    desk: Desk,
) -> None:
    await desk.start(recipe("fast"))
    assert [d.id for d in desk.fleet.wanted()] == ["fast@m-1"]
    await desk.start(recipe("fast"), recipe("precise"))
    assert [d.id for d in desk.fleet.wanted()] == ["fast@m-1", "precise@m-1"]


CHANGES = {
    "recipe.add": lambda desk, file: desk.add_recipe(CALLER, file, None),
    "deployment.add": lambda desk, _: desk.deploy(CALLER, "m-fast", R2),
    "deployment.drain": lambda desk, _: desk.drain(CALLER, RouteId("precise@m-1")),
    "deployment.remove": lambda desk, _: desk.remove(CALLER, RouteId("precise@m-1")),
    "traffic.set": lambda desk, _: desk.set_traffic(CALLER, "m", {R1: 7}, None),
}
NEW = RecipeFile(name="m-new", model="m", label="new", description="", artifact="/m")


@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_without_its_audit_record_does_not_happen(desk: Desk, action: str) -> None:
    state = await desk.state()
    with pytest.raises(Failed) as raised:
        await CHANGES[action](desk.on(FailingAudit(desk.store)), NEW)
    assert raised.value.failure.kind is FailureKind.RECORD_NOT_STORED
    assert state == await desk.state()


@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_that_policy_forbids_does_not_happen_and_is_on_record(
    desk: Desk, action: str
) -> None:
    desk.governor = governor(
        cedar=PERMIT_ALL
        + """
@id("m-is-fixed") @reason("Ask the platform team.")
forbid (principal, action == Action::"ManageDeployments", resource) when { resource.model == "m" };
"""
    )
    desk.artifacts.corrupt = True
    state = await desk.state()
    with pytest.raises(Failed) as raised:
        await CHANGES[action](desk.on(), NEW)
    refused = raised.value.failure
    assert (refused.kind, refused.message) == (
        FailureKind.PERMISSION_DENIED,
        "Ask the platform team.",
    )
    assert refused.detail == {
        "rule": "authorise.cedar.m-is-fixed",
        "policy_version": desk.governor.version,
    }
    assert state == await desk.state()
    newest = (await desk.store.audit(TenantId("acme"), 1))[0]
    assert (newest.action, newest.decision, newest.rule) == (
        action,
        "block",
        refused.detail["rule"],
    )
    assert newest.policy_version == desk.governor.version
    assert (newest.detail["actor"], newest.detail["model"]) == ("owner", "m")


@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_is_recorded_with_who_made_it(desk: Desk, action: str) -> None:
    await CHANGES[action](desk.on(), NEW)
    newest = (await desk.store.audit(TenantId("acme"), 1))[0]
    assert (newest.action, newest.key_id, newest.request_id) == (action, "key_1", "req_1")
    assert newest.detail["actor"] == "owner"
    assert (newest.decision, newest.rule) == ("allow", "authorise.cedar.default.deployments")
    assert newest.policy_version == desk.governor.version


async def test_a_corrupt_artifact_changes_nothing(desk: Desk) -> None:
    desk.artifacts.corrupt = True
    before = await desk.actions()
    with pytest.raises(Failed) as raised:
        await desk.on().deploy(CALLER, "m-fast", R2)
    assert raised.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
    assert len(desk.fleet.running) == 2
    assert await desk.actions() == before


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda d: d.deploy(CALLER, "nothing", R2), FailureKind.NOT_FOUND),
        (lambda d: d.deploy(CALLER, "m-fast", R1), FailureKind.CONFLICT),
        (lambda d: d.drain(CALLER, RouteId("fast@m-9")), FailureKind.NOT_FOUND),
        (lambda d: d.set_traffic(CALLER, "x", {R1: 1}, None), FailureKind.MODEL_NOT_FOUND),
        (lambda d: d.set_traffic(CALLER, "m", {R2: 1}, None), FailureKind.NOT_FOUND),
        (lambda d: d.set_traffic(CALLER, "m", {R1: 1}, 7), FailureKind.CONFLICT),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_recorded(
    desk: Desk, change: Any, kind: FailureKind
) -> None:
    before = await desk.actions()
    with pytest.raises(Failed) as raised:
        await change(desk.on())
    assert raised.value.failure.kind is kind
    assert await desk.actions() == before


async def test_deployments_are_bounded(desk: Desk) -> None:
    await desk.on().deploy(CALLER, "m-fast", R2)
    with pytest.raises(Failed) as raised:
        await desk.on().deploy(CALLER, "m-fast", ReleaseId("m-3"))
    assert raised.value.failure.kind is FailureKind.CAPACITY_EXHAUSTED


async def test_a_drained_deployment_can_be_deployed_again(desk: Desk) -> None:
    route = RouteId("precise@m-1")
    drained = await desk.on().drain(CALLER, route)
    assert not drained.deployment.wanted
    again = await desk.on().deploy(CALLER, "m-precise", R1)
    assert again.deployment.wanted and again.deployment.from_settings
    assert route in desk.fleet.running


async def test_a_removed_one_is_forgotten_but_for_what_the_settings_ask_for(desk: Desk) -> None:
    await desk.on().deploy(CALLER, "m-fast", R2)
    await desk.on().remove(CALLER, RouteId("fast@m-2"))
    await desk.on().remove(CALLER, RouteId("precise@m-1"))
    left = {d.id: d.wanted for d in await desk.store.deployments()}
    assert left == {"fast@m-1": True, "precise@m-1": False}
    await desk.start(recipe("fast"), recipe("precise"))
    assert [d.id for d in desk.fleet.wanted()] == ["fast@m-1"]


async def test_what_was_drained_can_be_removed(desk: Desk) -> None:
    await desk.on().deploy(CALLER, "m-fast", R2)
    await desk.on().drain(CALLER, RouteId("fast@m-2"))
    await desk.on().drain(CALLER, RouteId("fast@m-2"))
    await desk.on().remove(CALLER, RouteId("fast@m-2"))
    assert "fast@m-2" not in {d.id for d in await desk.store.deployments()}


async def test_the_last_route_goes_only_by_force(desk: Desk) -> None:
    await desk.on().remove(CALLER, RouteId("precise@m-1"))
    with pytest.raises(Failed) as raised:
        await desk.on().remove(CALLER, RouteId("fast@m-1"))
    assert raised.value.failure.kind is FailureKind.CONFLICT
    await desk.on().remove(CALLER, RouteId("fast@m-1"), force=True)
    assert desk.fleet.running == {}
