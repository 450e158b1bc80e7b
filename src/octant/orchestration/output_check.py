"""OutputCheck: an answer held against its contract and its evidence. Pure (GV5).

    texts -> JSON -> schema -> citations -> CheckedOutput

Law: strict where a program reads on: with a schema the whole reply has to be one JSON value, white
space around it aside; a fence or a friendly sentence is a broken contract, for the caller's parser
would break on it too. With `require_citations` every choice needs a mark whose passage supports it.
Problems never repeat what was said.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from octant.context.citations import check
from octant.core.content import Message, Role, TextPart
from octant.core.envelope import ContextPolicy, OutputContract
from octant.core.evidence import Citation, Evidence
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.orchestration.json_contract import Contract, contract_of, read_json

_NO_EVIDENCE = "no passage was found to cite from"
_NO_MARK = "no sentence ends with the mark of a passage, such as [1]"
_NOT_SUPPORTED = "no mark points to a passage that says so"


class CheckedOutput(NamedTuple):
    """`valid` is None when nothing was asked for, or nothing answered; `structured` has a value for
    every choice."""

    valid: bool | None
    structured: tuple[Any | None, ...]
    problems: tuple[str, ...]
    citations: tuple[Citation, ...]


class _Read(NamedTuple):
    value: Any
    problems: tuple[str, ...]


def compile_contract(contract: OutputContract) -> None:
    """Checks a contract before any work is done; compiled schemas are kept for `check_output`.

    Raises Failed(INVALID_VALUE) for a schema that cannot be used.
    """
    _compiled(contract)


def check_output(
    contract: OutputContract | None,
    context: ContextPolicy,
    evidence: Evidence | None,
    texts: Sequence[str | None],
    said: Sequence[str | None] | None = None,
) -> CheckedOutput:
    """What is to be said of `texts`, one for each choice; None where a choice gave no answer.

    `said` are the same as the model meant them, where policy took something out of `texts`.
    Raises Failed(INVALID_VALUE) as `compile_contract` does.
    """
    read = [_held(contract, text) for text in texts]
    cited = [_cited(choice, text, evidence) for choice, text in enumerate(said or texts)]
    answers = [choice for choice, text in enumerate(texts) if text is not None]
    problems = [(i, problem) for i in answers for problem in read[i].problems]
    if context.require_citations:
        problems += [(i, problem) for i in answers for problem in _uncited(cited[i], evidence)]
    asked = bool(answers) and (contract is not None or context.require_citations)
    return CheckedOutput(
        valid=not problems if asked else None,
        structured=tuple(one.value for one in read),
        problems=tuple(_of_choice(choice, problem, len(texts)) for choice, problem in problems),
        citations=tuple(citation for marks in cited for citation in marks),
    )


def repair_messages(
    contract: OutputContract | None,
    answer: str,
    problems: Sequence[str],
    treated: Callable[[str], str] = str,
) -> tuple[Message, ...]:
    """The answer and what is asked about it, for one more try.

    Where an object was wanted and the answer is prose, its fields are to be extracted from it: a
    task of its own, which small models manage where they fail to answer in a form at once, and
    which a list of complaints only distracts from. Else what is wrong is told.

    Names and values of the schema are words of the caller's; a model sees them `treated`.
    """
    keys = treated(", ".join(_keys(contract)))
    if keys and not _is_json(answer):
        asked = f"Extract {keys} as JSON.\n\n{answer}"
    else:
        listed = treated("\n".join(f"- {problem}" for problem in problems))
        asked = (
            f"The answer cannot be used:\n{listed}\nAnswer again, with nothing else in the reply."
        )
    return (
        Message(role=Role.ASSISTANT, parts=(TextPart(text=answer),)),
        Message(role=Role.USER, parts=(TextPart(text=asked),)),
    )


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def _keys(contract: OutputContract | None) -> Sequence[str]:
    """The fields that an answer has to have, else those that it may have."""
    schema = contract.json_schema if contract is not None else {}
    named = schema.get("required") or schema.get("properties") or ()
    return [str(key) for key in named]


def _held(contract: OutputContract | None, text: str | None) -> _Read:
    if contract is None or text is None:
        return _Read(None, ())
    schema = _compiled(contract)
    try:
        value = read_json(text)
    except ValueError as error:
        return _Read(None, (f"the whole reply has to be one JSON value, and {error}",))
    problems = schema.problems(value)
    return _Read(None if problems else value, problems)


def _compiled(contract: OutputContract) -> Contract:
    try:
        return contract_of(contract.json_schema)
    except ValueError as error:
        raise Failed(
            Failure(
                kind=FailureKind.INVALID_VALUE,
                stage=Stage.BOUNDARY,
                message=f"The output schema cannot be used: {error}.",
                param="octant.output.json_schema",
            )
        ) from error


def _cited(choice: int, text: str | None, evidence: Evidence | None) -> tuple[Citation, ...]:
    return () if evidence is None or text is None else check(choice, text, evidence)


def _uncited(marks: Sequence[Citation], evidence: Evidence | None) -> tuple[str, ...]:
    if any(citation.supported for citation in marks):
        return ()
    if evidence is None or not evidence.texts:
        return (_NO_EVIDENCE,)
    return (_NOT_SUPPORTED if marks else _NO_MARK,)


def _of_choice(choice: int, problem: str, choices: int) -> str:
    return problem if choices == 1 else f"choice {choice}: {problem}"
