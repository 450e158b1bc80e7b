"""`octant policy`: the rules in force, whether a file of rules is sound, and what one would say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Principal, PrincipalRole, Scope
from octant.core.ids import ActorId, KeyId, TenantId
from octant.core.stage import Stage
from octant.observability.printable import printable

if TYPE_CHECKING:
    from octant.app.policy_file import PolicyFile
    from octant.governance.authorization import Action

policy = typer.Typer(help="The rules that every request meets.", no_args_is_help=True)

_FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="A policy file instead of the one in force.",
        show_default=False,
    ),
]  # fmt: skip
_TenantOption = Annotated[
    str, typer.Option("--tenant", metavar="ID", help="The tenant whose rules apply.")
]


@policy.command("show")
def show_policy(
    text: Annotated[
        bool, typer.Option("--text", metavar="", help="The file itself, to be edited.")
    ] = False,
    tenant: _TenantOption = "default",
    policy_file: _FileOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the policy in force: its version, its rules, and what happens to personal data.

    Examples:

      octant policy show

      octant policy show --text > policy.toml

      octant policy show --tenant acme --json
    """
    from octant.governance.authorization import policy_names
    from octant.governance.pii.kinds import PiiKind, Where

    found = _load(policy_file, data_dir, config)
    if text and not as_json:
        typer.echo(found.text, nl=False)
        return
    document = found.document
    chosen = {where: document.actions(TenantId(tenant), where) for where in Where}
    told: dict[str, Any] = {
        "version": document.version,
        "path": None if found.path is None else str(found.path),
        "tenant": tenant,
        "policies": policy_names(document.authorization),
        "denied_models": list(document.denied_models(TenantId(tenant))),
        "max_input_bytes": {risk.value: n for risk, n in document.max_input_bytes.items()},
        "record": document.records(TenantId(tenant)),
        "pii": {
            where.value: {kind.value: action.value for kind, action in actions.items()}
            for where, actions in chosen.items()
        },
    }
    if as_json:
        print_json(told | {"text": found.text} if text else told)
        return
    place = printable(told["path"] or "the one that comes with Octant")
    console().print(
        f"version   {document.version}\nfile      {place}\ntenant    {tenant}", soft_wrap=True
    )
    console().print(f"policies  {', '.join(told['policies'])}\n", soft_wrap=True)
    print_rows(
        ["kind", *(where.value for where in Where)],
        [[kind.value, *(chosen[where][kind].value for where in Where)] for kind in PiiKind],
        empty="",
    )


@policy.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy file.")],
    as_json: JsonOption = False,
) -> None:
    """Check a policy file; every problem is told with its line and how to fix it.

    Examples:

      octant policy check policy.toml

      octant policy check policy.toml --json
    """
    from octant.app.policy_file import policy_from

    document = policy_from(file).document
    if as_json:
        print_json({"ok": True, "path": str(file), "version": document.version})
        return
    console().print(
        Text.assemble(("ok", "bold green"), f"  {printable(str(file))}  {document.version}"),
        soft_wrap=True,
    )


@policy.command("explain")
def explain_policy(
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION",
            help="UseModel, UseTool, UseSource, UseSession or ManageDeployments.",
        ),
    ],
    resource: Annotated[
        str, typer.Argument(metavar="RESOURCE", help="Name or id of what is to be used.")
    ],
    attributes: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=VALUE",
            help="What is known of it, such as side_effect=read or risk=high.",
            show_default=False,
        ),
    ] = None,
    tenant: _TenantOption = "default",
    role: Annotated[PrincipalRole, typer.Option(help="Who asks.")] = PrincipalRole.SERVICE,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="Scopes of the key.", show_default="the one that the action needs"),
    ] = None,
    policy_file: _FileOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain what the policy says to an action: decision, rule and reason.

    Examples:

      octant policy explain UseModel large --tenant acme

      octant policy explain UseTool send_mail --with side_effect=irreversible_write

      octant policy explain ManageDeployments fast@m-2 --role operator --file policy.toml --json
    """
    from octant.governance.authorization import Action, attribute_names, scope_of
    from octant.governance.governor import Governor

    asked = _action(action, tuple(Action))
    told = _attributes(attributes or [], attribute_names(asked))
    if "name" in attribute_names(asked):
        told.setdefault("name", resource)
    principal = Principal(
        actor=ActorId("explain"),
        tenant=TenantId(tenant),
        key_id=KeyId("explain"),
        role=role,
        scopes=tuple(scope) if scope else (scope_of(asked),),
    )
    governor = Governor(_load(policy_file, data_dir, config).document)
    verdict = governor.authorise(principal, asked, resource, told)
    if as_json:
        print_json(
            {
                "decision": verdict.decision.value,
                "rule": verdict.rule,
                "reason": verdict.reason,
                "policy_version": verdict.policy_version,
            }
        )
        return
    console().print(
        f"decision  {verdict.decision.value}\nrule      {verdict.rule}\n"
        f"reason    {printable(verdict.reason)}\nversion   {verdict.policy_version}",
        soft_wrap=True,
        markup=False,
    )


def _load(file: Path | None, data_dir: Path | None, config: Path | None) -> "PolicyFile":
    from octant.app.policy_file import policy_from, policy_in_force
    from octant.cli.loading import load

    return policy_from(file) if file else policy_in_force(load(config, data_dir).settings)


def _action(name: str, actions: "tuple[Action, ...]") -> "Action":
    for action in actions:
        if action.value.lower() == name.lower():
            return action
    known = ", ".join(action.value for action in actions)
    raise _usage("ACTION", f"There is no action {name!r}; there are {known}.")


def _attributes(given: list[str], known: tuple[str, ...]) -> dict[str, str]:
    told: dict[str, str] = {}
    for entry in given:
        name, sign, value = entry.partition("=")
        if not sign or name not in known:
            names = ", ".join(known) or "none"
            raise _usage("--with", f"{entry!r}: expected NAME=VALUE; names here: {names}.")
        told[name] = value
    return told


def _usage(param: str, message: str) -> Failed:
    return Failed(
        Failure(
            kind=FailureKind.INVALID_VALUE, stage=Stage.GOVERNANCE, message=message, param=param
        )
    )
