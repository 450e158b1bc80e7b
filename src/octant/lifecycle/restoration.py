"""Restoration: what is to run when a server starts, from the store and from its settings.

    settings' recipes + store -> adopt -> deployments and traffic, stored -> Restored

Law: what was acknowledged before the last end is wanted again, whichever end it was. What the
settings add is stored and audited like a change of an operator, before anything starts.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from octant.core.audit import AuditRecord
from octant.core.deployment import Deployment, Recipe, Traffic
from octant.core.ids import ReleaseId, TenantId
from octant.lifecycle.deployments import Adoption, adopt, traffic_after
from octant.ports.clock import Clock
from octant.ports.store import Store

# Who changes what the settings ask for.
SYSTEM_TENANT = TenantId("octant")

_CHANGED_BY = "settings"
_WHOLE = 100


class Restored(NamedTuple):
    """What is to run, in the order of starting, and how each model's requests are split."""

    wanted: tuple[tuple[Deployment, Recipe], ...]
    traffic: Mapping[str, Mapping[ReleaseId, int]]


async def restore(store: Store, base: Sequence[Recipe], clock: Clock) -> Restored:
    """`base` are the recipes of the settings' model, the most important first.

    Deployments of another model's settings stay stored and do not run.
    """
    for recipe in base:
        if await store.recipe(recipe.digest) is None:
            await _audit(store, clock, "recipe.add", {"recipe": recipe.digest})
            await store.put_recipe(recipe)
    recipes = {recipe.digest: recipe for recipe in await store.recipes()}
    adoption = adopt(base, await store.deployments(), recipes, clock.unix_ns())
    await _store(store, clock, adoption)
    deployments = await store.deployments()
    await _split(store, clock, adoption, _releases_of(base, deployments))
    mine = {recipe.digest for recipe in base}
    wanted = [d for d in deployments if d.wanted and (not d.from_settings or _is(d, mine))]
    wanted.sort(key=lambda d: _rank(d, base))
    return Restored(
        wanted=tuple((d, recipes[d.recipe_digest]) for d in wanted if d.recipe_digest in recipes),
        traffic={split.model: split.weights for split in await store.traffic()},
    )


async def _store(store: Store, clock: Clock, adoption: Adoption) -> None:
    for deployment in adoption.put:
        told = {"deployment": deployment.id, "recipe": deployment.recipe_digest}
        await _audit(store, clock, "deployment.add", told)
        await store.put_deployment(deployment)
    for route in adoption.superseded:
        await _audit(store, clock, "deployment.remove", {"deployment": route})
        await store.delete_deployment(route)


async def _split(
    store: Store, clock: Clock, adoption: Adoption, releases: Mapping[str, ReleaseId]
) -> None:
    splits = {split.model: split for split in await store.traffic()}
    for model, release in releases.items():
        split = splits.get(model)
        weights = {release: _WHOLE} if split is None else traffic_after(split, adoption)
        if weights is None:
            continue
        version = split.version + 1 if split else 1
        told: dict[str, str | int] = {"model": model, "version": version}
        told |= {f"weight.{name}": weight for name, weight in weights.items()}
        await _audit(store, clock, "traffic.set", told)
        await store.put_traffic(
            Traffic(
                model=model,
                weights=weights,
                version=version,
                changed_unix_ns=clock.unix_ns(),
                changed_by=_CHANGED_BY,
            )
        )


def _releases_of(base: Sequence[Recipe], deployments: Sequence[Deployment]) -> dict[str, ReleaseId]:
    """By model, the release that the settings' recipes belong to."""
    of_recipe = {d.recipe_digest: d.release for d in deployments if d.from_settings}
    return {recipe.model: of_recipe[recipe.digest] for recipe in base if recipe.digest in of_recipe}


def _is(deployment: Deployment, digests: set[str]) -> bool:
    return deployment.recipe_digest in digests


def _rank(deployment: Deployment, base: Sequence[Recipe]) -> tuple[int, int]:
    """The settings' recipes in their order, then the others in the order of their creation."""
    order = [recipe.digest for recipe in base]
    if deployment.from_settings:
        return order.index(deployment.recipe_digest), 0
    return len(order), deployment.created_unix_ns


async def _audit(store: Store, clock: Clock, action: str, detail: dict[str, str | int]) -> None:
    record = AuditRecord(
        request_id=None,
        tenant=SYSTEM_TENANT,
        key_id=None,
        action=action,
        decision="allow",
        policy_version="",
        rule="settings",
        at_unix_ns=clock.unix_ns(),
        detail=detail,
    )
    await store.append_audit([record])
