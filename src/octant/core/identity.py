"""Who acts: the principal that authentication establishes and that nothing later can widen."""

from enum import StrEnum

from octant.core.ids import ActorId, KeyId, TenantId
from octant.core.record import Record


class PrincipalRole(StrEnum):
    """What kind of actor a credential stands for (GW1)."""

    SERVICE = "service"
    USER = "user"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class Scope(StrEnum):
    """What a credential may do; an endpoint names the scope it needs."""

    INFERENCE = "inference"
    MODELS_READ = "models:read"
    METRICS_READ = "metrics:read"
    DEPLOYMENTS = "deployments"


class Principal(Record, frozen=True, kw_only=True):
    """Actor, tenant and authority of one request.

    `models` lists the models the credential may use; empty means every model of the tenant.
    """

    actor: ActorId
    tenant: TenantId
    key_id: KeyId
    role: PrincipalRole = PrincipalRole.SERVICE
    scopes: tuple[Scope, ...] = ()
    models: tuple[str, ...] = ()
