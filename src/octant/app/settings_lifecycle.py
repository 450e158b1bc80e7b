"""Settings of the lifecycle layer: which deployments there are, and how they leave."""

from octant.app.settings_fields import Section, setting


class DeploymentsSection(Section):
    """Routes of the embedded engine, and how they come and go."""

    precise: bool = setting(
        True,
        "Whether the bundled model is also served in 16 bit, as the route `precise`.",
        chosen_by="it takes 130 MB of memory and loads after the first route is ready",
    )
    max_routes: int = setting(
        8, "Deployments that may run at once.", chosen_by="each is a process of its own", ge=1
    )
    drain_grace_ms: int = setting(
        3_600_000,
        "How long requests may go on in a route that is drained.",
        chosen_by="the longest deadline of any profile, so that draining ends no request",
        ge=0,
    )
