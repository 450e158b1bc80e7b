"""What is done about what is wanted, and what may be changed about it."""

import pytest

from octant.core.deployment import Deployment, Recipe, Traffic
from octant.core.failure import Failed, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.limits import Objective
from octant.core.route import DeploymentState
from octant.lifecycle.deployments import (
    Running,
    Standing,
    Start,
    Stop,
    adopt,
    check_may_stop,
    check_weights,
    reconcile,
    route_id,
    traffic_after,
)

READY, LOADING, FAILED = DeploymentState.READY, DeploymentState.LOADING, DeploymentState.FAILED
NOW = 1_000


def deployment(label: str = "fast", release: str = "m-1", **fields: object) -> Deployment:
    given = {"model": "m", "recipe_digest": f"{label}-recipe", "created_unix_ns": NOW} | fields
    named = ReleaseId(release)
    return Deployment(id=route_id(label, named), release=named, **given)  # pyright: ignore[reportArgumentType]  # fields of one test


def recipe(label: str, artifact: str = "a", digest: str = "") -> Recipe:
    return Recipe(
        name=f"m-{label}",
        model="m",
        label=label,
        description="",
        artifact_digest=f"{artifact}-{label}",
        tokenizer_digest="",
        location="",
        engine="openvino",
        engine_version="1",
        weight_precision="int8",
        kv_precision="u8",
        max_context=1,
        working_context=1,
        max_sequences=1,
        objective=Objective(ttft_ms=1, tpot_ms=1, total_ms=1),
        digest=digest or f"{label}-{artifact}-recipe",
    )


def running(digest: str, state: DeploymentState = READY, *, leaving: bool = False) -> Running:
    return Running(digest, state, leaving)


FAST, PRECISE = deployment("fast"), deployment("precise")


def test_one_engine_loads_at_a_time_in_the_order_asked_for() -> None:
    assert reconcile([FAST, PRECISE], {}) == (Start(FAST),)
    loading = {FAST.id: running("fast-recipe", LOADING)}
    assert reconcile([FAST, PRECISE], loading) == ()
    ready = {FAST.id: running("fast-recipe", READY)}
    assert reconcile([FAST, PRECISE], ready) == (Start(PRECISE),)


def test_an_engine_that_failed_holds_nobody_up() -> None:
    failed = {FAST.id: running("fast-recipe", FAILED)}
    assert reconcile([FAST, PRECISE], failed) == (Start(PRECISE),)


def test_what_is_not_wanted_is_stopped_once() -> None:
    both = {FAST.id: running("fast-recipe"), PRECISE.id: running("precise-recipe")}
    assert reconcile([FAST], both) == (Stop(PRECISE.id),)
    both[PRECISE.id] = running("precise-recipe", DeploymentState.DRAINING, leaving=True)
    assert reconcile([FAST], both) == ()


def test_another_recipe_takes_the_place_of_the_one_that_runs() -> None:
    old = {FAST.id: running("older")}
    assert reconcile([FAST], old) == (Stop(FAST.id),)
    old[FAST.id] = running("older", DeploymentState.DRAINING, leaving=True)
    assert reconcile([FAST], old) == ()
    assert reconcile([FAST], {}) == (Start(FAST),)


def test_one_that_leaves_while_it_loads_makes_room() -> None:
    leaving = {FAST.id: running("fast-recipe", LOADING, leaving=True)}
    assert reconcile([PRECISE], leaving) == (Start(PRECISE),)


# What the settings ask for

BASE = (recipe("fast"), recipe("precise"))
KNOWN = {r.digest: r for r in BASE}


def test_the_first_start_makes_one_release_of_all_recipes() -> None:
    made = adopt(BASE, [], {}, NOW)
    assert [d.id for d in made.put] == ["fast@m-1", "precise@m-1"]
    assert all(d.from_settings and d.wanted for d in made.put)
    assert (made.superseded, made.renamed) == ((), {})


def test_the_second_start_changes_nothing() -> None:
    first = adopt(BASE, [], {}, NOW).put
    again = adopt(BASE, first, KNOWN, NOW + 1)
    assert (again.put, again.superseded, again.renamed) == ((), (), {})


def test_another_artifact_is_the_next_release_and_inherits_the_traffic() -> None:
    first = adopt(BASE, [], {}, NOW).put
    newer = tuple(recipe(r.label, "b") for r in BASE)
    made = adopt(newer, first, KNOWN | {r.digest: r for r in newer}, NOW + 1)
    assert [d.id for d in made.put] == ["fast@m-2", "precise@m-2"]
    assert made.superseded == ("fast@m-1", "precise@m-1")
    traffic = Traffic(
        model="m", weights={ReleaseId("m-1"): 90, ReleaseId("x"): 10}, changed_unix_ns=1
    )
    assert traffic_after(traffic, made) == {"m-2": 90, "x": 10}
    # A crash between storing the new ones and forgetting the old ones is mended.
    rest = adopt(newer, (*first, *made.put), KNOWN | {r.digest: r for r in newer}, NOW + 2)
    assert (rest.put, rest.superseded) == ((), made.superseded)


def test_another_setting_is_the_same_release() -> None:
    first = adopt(BASE, [], {}, NOW).put
    tuned = tuple(recipe(r.label, digest=f"tuned-{r.label}") for r in BASE)
    made = adopt(tuned, first, KNOWN, NOW + 1)
    assert [(d.id, d.recipe_digest) for d in made.put] == [
        ("fast@m-1", "tuned-fast"),
        ("precise@m-1", "tuned-precise"),
    ]
    assert made.superseded == ()


def test_a_route_less_or_more_is_the_same_release() -> None:
    alone = adopt(BASE[:1], [], {}, NOW).put
    made = adopt(BASE, alone, KNOWN, NOW + 1)
    assert [d.id for d in made.put] == ["precise@m-1"]


def test_what_an_operator_stopped_stays_stopped() -> None:
    first = adopt(BASE, [], {}, NOW).put
    stopped = [first[0], deployment("precise", "m-1", wanted=False, from_settings=True,
                                    recipe_digest=first[1].recipe_digest)]  # fmt: skip
    assert adopt(BASE, stopped, KNOWN, NOW).put == ()
    newer = tuple(recipe(r.label, "b") for r in BASE)
    made = adopt(newer, stopped, KNOWN, NOW)
    assert [d.wanted for d in made.put] == [True, False]


def test_a_release_made_by_hand_keeps_its_number() -> None:
    by_hand = deployment("fast", "m-1", recipe_digest="other")
    assert [d.release for d in adopt(BASE[:1], [by_hand], {}, NOW).put] == ["m-2"]


# What may be changed

SPLIT = Traffic(model="m", weights={ReleaseId("m-1"): 1}, changed_unix_ns=1)


def conflict(call: object, *given: object) -> str:
    with pytest.raises(Failed) as raised:
        call(*given)  # type: ignore[operator]
    assert raised.value.failure.kind is FailureKind.CONFLICT
    return raised.value.failure.message


def test_the_last_deployment_of_a_model_is_not_stopped() -> None:
    assert "last deployment" in conflict(check_may_stop, FAST, [FAST], None)


def test_the_last_route_of_a_release_with_traffic_is_not_stopped() -> None:
    other = deployment("fast", "m-2")
    assert "takes traffic" in conflict(check_may_stop, FAST, [FAST, other], SPLIT)
    check_may_stop(other, [FAST, other], SPLIT)
    check_may_stop(FAST, [FAST, PRECISE], SPLIT)


def standing(state: DeploymentState, release: str = "m-1") -> Standing:
    return Standing(ReleaseId(release), state)


def test_traffic_goes_to_releases_with_a_ready_route_only() -> None:
    weights = {ReleaseId("m-1"): 1}
    check_weights("m", weights, [standing(READY)])
    check_weights("m", weights, [standing(FAILED), standing(READY)])
    assert "(loading)" in conflict(check_weights, "m", weights, [standing(LOADING)])
    check_weights("m", weights | {ReleaseId("m-2"): 0},
                  [standing(READY), standing(LOADING, "m-2")])  # fmt: skip


@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        ({"m-1": 0}, FailureKind.INVALID_VALUE),
        ({}, FailureKind.INVALID_VALUE),
        ({"m-1": -1}, FailureKind.INVALID_VALUE),
        ({"m-1": 1, "m-9": 1}, FailureKind.NOT_FOUND),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights: dict[str, int], kind: FailureKind) -> None:
    with pytest.raises(Failed) as raised:
        check_weights("m", {ReleaseId(r): w for r, w in weights.items()}, [standing(READY)])
    assert raised.value.failure.kind is kind


def test_a_route_is_named_by_its_label_and_release() -> None:
    assert route_id("fast", ReleaseId("m-1")) == RouteId("fast@m-1")
