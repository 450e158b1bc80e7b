"""Terms: from the extras as sent to core values, with every bound that is a setting.

Law: `terms_of` checks what the extras alone can tell, `check_terms` what has to fit the rest of the
request, `check_schema` what takes long to tell. `at` is what stands before a field's name in
messages: `octant.` or nothing.
"""

from octant.core.content import ChatInput, Input
from octant.core.envelope import (
    ContextPolicy,
    ModelConstraints,
    OutputContract,
    Preference,
    RiskClass,
    SessionUse,
    ToolGrant,
    TraceSettings,
)
from octant.core.evidence import Classification, Document
from octant.core.failure import FailureKind
from octant.core.ids import SessionId
from octant.core.limits import RunBudget
from octant.core.sampling import Sampling
from octant.core.units import NanoUsd
from octant.gateway.bounds import check_count, check_most
from octant.gateway.dialects.dialect import Terms
from octant.gateway.dialects.octant_extras import (
    SentBudget,
    SentConstraints,
    SentContext,
    SentDocument,
    SentOutput,
    SentSession,
    SentTerms,
    SentTrace,
)
from octant.gateway.failures import refuse
from octant.gateway.settings import GatewaySettings
from octant.orchestration.json_contract import contract_of


def terms_of(sent: SentTerms, settings: GatewaySettings, at: str) -> Terms:
    """Raises Failed(INVALID_VALUE)."""
    budget, trace = sent.budget or SentBudget(), sent.trace or SentTrace()
    return Terms(
        profile=sent.profile,
        deadline_ms=sent.deadline_ms,
        cache_salt=sent.cache_salt,
        budget=RunBudget(tokens=budget.tokens, cost_nano_usd=_money(budget.cost_nano_usd)),
        session=_session(sent.session),
        context=_context(sent, settings, at),
        tools=_tools(sent, settings, at),
        output=_output(sent.output, settings, at),
        risk=sent.risk or RiskClass.LOW,
        trace=TraceSettings(record=trace.record is not False),
    )


def constraints_of(
    name: str, sent: SentConstraints | None, needed: tuple[str, ...] = ()
) -> ModelConstraints:
    """The model by its name; `needed` are the capabilities that the input itself asks for."""
    asked = sent or SentConstraints()
    return ModelConstraints(
        name=name,
        capabilities=tuple(dict.fromkeys((*needed, *(asked.capabilities or ())))),
        residency=asked.residency,
        max_cost_nano_usd=_money(asked.max_cost_nano_usd),
        prefer=asked.prefer or Preference.LATENCY,
        labels=tuple(dict.fromkeys(asked.labels or ())),
    )


def check_terms(terms: Terms, asked: Input, sampling: Sampling, at: str) -> None:
    """Raises Failed where terms ask for what this input or sampling cannot have."""
    if isinstance(asked, ChatInput):
        _check_tool_names(terms.tools, asked, at)
    else:
        _check_raw_prompt(terms, at)
    if sampling.n > 1:
        _check_one_choice(terms, sampling.n, at)


def check_schema(output: OutputContract, at: str) -> None:
    """Raises Failed(INVALID_VALUE) for a schema that no answer can be held against.

    Compiling a hostile one takes up to a second, so it is done apart from the rest, on a thread.
    """
    path = f"{at}output.json_schema"
    try:
        contract_of(output.json_schema)
    except ValueError as error:
        refuse(
            FailureKind.INVALID_VALUE,
            f"Invalid value for '{path}': no answer can be held against this schema: {error}.",
            path,
        )


def _money(nano_usd: int | None) -> NanoUsd | None:
    return None if nano_usd is None else NanoUsd(nano_usd)


def _session(sent: SentSession | None) -> SessionUse | None:
    if sent is None:
        return None
    return SessionUse(
        id=SessionId(sent.id),
        expected_version=sent.expected_version,
        store=sent.store is not False,
    )


def _context(sent: SentTerms, settings: GatewaySettings, at: str) -> ContextPolicy:
    documents, context = sent.documents or [], sent.context or SentContext()
    check_count(f"{at}documents", len(documents), settings.max_documents)
    _check_unique(f"{at}documents", "id", [document.id for document in documents])
    if context.require_citations and not documents:
        refuse(
            FailureKind.INVALID_VALUE,
            f"'{at}context.require_citations' needs something to cite. Send '{at}documents'.",
            f"{at}context.require_citations",
        )
    return ContextPolicy(
        documents=tuple(_document(document) for document in documents),
        max_tokens=context.max_tokens,
        require_citations=bool(context.require_citations),
    )


def _document(sent: SentDocument) -> Document:
    return Document(
        id=sent.id,
        text=sent.text,
        title=sent.title or "",
        source=sent.source or "",
        classification=sent.classification or Classification.INTERNAL,
    )


def _tools(sent: SentTerms, settings: GatewaySettings, at: str) -> ToolGrant:
    names = sent.tools or []
    check_count(f"{at}tools", len(names), settings.max_tools)
    _check_unique(f"{at}tools", "name", names)
    default = min(ToolGrant().max_steps, settings.max_steps)
    steps = _or_default(f"{at}max_steps", sent.max_steps, default, settings.max_steps)
    return ToolGrant(allowed=tuple(names), max_steps=steps)


def _output(sent: SentOutput | None, settings: GatewaySettings, at: str) -> OutputContract | None:
    if sent is None:
        return None
    default = min(OutputContract(json_schema={}).max_repairs, settings.max_repairs)
    repairs = _or_default(
        f"{at}output.max_repairs", sent.max_repairs, default, settings.max_repairs
    )
    return OutputContract(json_schema=sent.json_schema, name=sent.name or "", max_repairs=repairs)


def _or_default(path: str, value: int | None, default: int, limit: int) -> int:
    if value is None:
        return default
    check_most(path, value, limit)
    return value


def _check_unique(path: str, what: str, values: list[str]) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            refuse(
                FailureKind.INVALID_VALUE,
                f"Invalid value for '{path}[{index}]': the {what} '{value}' stands there twice. "
                "Send each once.",
                f"{path}[{index}]",
            )
        seen.add(value)


def _check_tool_names(tools: ToolGrant, asked: ChatInput, at: str) -> None:
    own = set(tools.allowed)
    for definition in asked.tools:
        if definition.name in own:
            refuse(
                FailureKind.INVALID_VALUE,
                f"The name '{definition.name}' is used twice: for a tool of yours and, in "
                f"'{at}tools', for one of Octant's. Rename yours.",
                f"{at}tools",
            )


def _check_raw_prompt(terms: Terms, at: str) -> None:
    asked_for = (
        ("session", terms.session is not None),
        ("documents", bool(terms.context.documents)),
        ("tools", bool(terms.tools.allowed)),
        ("output", terms.output is not None),
    )
    for name, asked in asked_for:
        if asked:
            refuse(
                FailureKind.UNSUPPORTED_PARAMETER,
                f"'{at}{name}' needs a conversation, which a raw prompt is not. "
                "Use POST /v1/chat/completions or POST /v1/runs.",
                f"{at}{name}",
            )


def _check_one_choice(terms: Terms, n: int, at: str) -> None:
    stores = terms.session is not None and terms.session.store
    for name, asked in (("session", stores), ("tools", bool(terms.tools.allowed))):
        if asked:
            refuse(
                FailureKind.UNSUPPORTED_PARAMETER,
                f"'{at}{name}' goes on from one answer, and 'n' asks for {n}. Leave out 'n'.",
                f"{at}{name}",
            )
