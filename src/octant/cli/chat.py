"""`octant chat`: talk to a served model in the terminal."""

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from octant.cli.options import ConfigOption, DataDirOption, KeyOption, ModelOption, UrlOption
from octant.cli.output import JsonOption, console, notices, print_failure, print_json
from octant.core.failure import Failed
from octant.observability.printable import printable

if TYPE_CHECKING:
    from octant.cli.conversation import Conversation
    from octant.cli.session import Session

_HELP = "Type a message. /reset forgets the conversation, /exit or Ctrl-D ends it."


def chat(
    message: Annotated[
        str | None,
        typer.Argument(
            help="Ask this, print the answer and leave; - reads standard input.",
            show_default="talk in the terminal",
        ),
    ] = None,
    model: ModelOption = None,
    system: Annotated[
        str | None, typer.Option(help="Instructions for the model.", show_default=False)
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk to a served model; answers stream in as they are made.

    Ctrl-C stops an answer and keeps the conversation.

    Examples:

      octant chat

      octant chat "What is the capital of France?" --temperature 0

      cat notes.txt | octant chat - --system "Summarise in one sentence." --json
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    loaded = load(config, data_dir)
    options = {"max_tokens": max_tokens, "temperature": temperature}
    given = {name: value for name, value in options.items() if value is not None}
    if message is None and (as_json or not sys.stdin.isatty()):
        message = "-"

    async def talk() -> None:
        from octant.cli.conversation import Conversation

        async with open_session(loaded, url, key) as session:
            conversation = Conversation(model or await session.default_model(), system, given)
            if message is None:
                await _converse(session, conversation)
            else:
                text = sys.stdin.read() if message == "-" else message
                await _answer_once(session, conversation, text, as_json=as_json)

    asyncio.run(talk())


async def _answer_once(
    session: "Session", conversation: "Conversation", text: str, *, as_json: bool
) -> None:
    if as_json:
        answer = await conversation.ask(session, text, lambda _: None)
        print_json(answer._asdict())
        return
    await conversation.ask(session, text, _show)
    console().print()


async def _converse(session: "Session", conversation: "Conversation") -> None:
    model = (printable(conversation.model), "bold")
    notices().print(Text.assemble(model, f" at {session.target.url}. {_HELP}"))
    while True:
        text = _read_line()
        if text is None or text == "/exit":
            return
        if text == "/reset":
            conversation.reset()
            notices().print("The conversation is forgotten.", style="dim")
        elif text:
            await _turn(session, conversation, text)


async def _turn(session: "Session", conversation: "Conversation", text: str) -> None:
    """One answer. Ctrl-C cuts the connection, which cancels the work on the server."""
    answering = asyncio.ensure_future(conversation.ask(session, text, _show))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, answering.cancel)
    try:
        await answering
        console().print()
    except asyncio.CancelledError:
        session.close()
        notices().print("\n(stopped)", style="dim")
    except Failed as error:
        print_failure(error.failure, as_json=False)
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _read_line() -> str | None:
    """The next message, None at the end of input or on Ctrl-C at the prompt.

    It blocks the event loop, which has nothing to do meanwhile. asyncio answers the first Ctrl-C
    with a cancellation that a blocked loop never sees, so the plain handler stands in here.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input("\n> ").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    finally:
        signal.signal(signal.SIGINT, handler)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
