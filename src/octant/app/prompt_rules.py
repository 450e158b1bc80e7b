"""Prompt rules of a recipe: tokenizer, template and publisher's sampling, from its files.

Law: rules are known by the digests of the files they are read from, so that releases with the same
ones share them.
"""

import hashlib

from octant.adapters.huggingface.chat_template import load_chat_template
from octant.adapters.huggingface.generation_config import load_sampling
from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.app.artifacts import directory_of
from octant.context.caller_text import encode_conversation
from octant.context.chat_template import ChatTemplate, conversation
from octant.core.content import Message, Role, TextPart
from octant.core.deployment import Probe, Recipe
from octant.orchestration.routes import PromptRules
from octant.preparation.manifest import ArtifactManifest
from octant.serving.known_answer import KnownAnswer

_GRAPH_SUFFIXES = (".xml", ".bin")


def load_rules(recipe: Recipe) -> PromptRules:
    """Takes up to a second for a large vocabulary. Raises Failed(CORRUPT_ARTIFACT)."""
    directory = directory_of(recipe.location)
    files = load_chat_template(directory)
    template = None
    if files is not None:
        template = ChatTemplate(files.source, files.special_tokens, files.tool_source)
    return PromptRules(
        tokenizer=load_tokenizer(directory),
        template=template,
        tool_format=recipe.tool_format,
        default_sampling=load_sampling(directory),
    )


def rules_key(artifact: ArtifactManifest) -> str:
    """Equal for artifacts whose prompts are made alike: everything but the graph is the same."""
    files = [f"{f.path} {f.sha256}" for f in artifact.files if not _is_graph(f.path)]
    told = "\n".join([artifact.tool_call_format, *files])
    return hashlib.sha256(told.encode()).hexdigest()


def known_answer(recipe: Recipe, rules: PromptRules) -> KnownAnswer | None:
    """What the recipe's engine has to answer before it is ready; None without a measured probe."""
    probe = recipe.probe
    if probe is None:
        return None
    tokens = _prompt(probe, rules)
    return KnownAnswer(tuple(tokens), probe.expect, probe.max_tokens)


def _prompt(probe: Probe, rules: PromptRules) -> list[int]:
    if rules.template is None:
        return rules.tokenizer.encode_untrusted(probe.user)
    said = [(Role.SYSTEM, probe.system)] if probe.system else []
    messages = [
        Message(role=role, parts=(TextPart(text=text),))
        for role, text in [*said, (Role.USER, probe.user)]
    ]
    talk = conversation(messages, ())
    return encode_conversation(talk, rules.template.render_conversation, rules.tokenizer)


def _is_graph(path: str) -> bool:
    return path.endswith(_GRAPH_SUFFIXES)
