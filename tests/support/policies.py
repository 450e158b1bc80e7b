"""Policies for tests: the one that comes with Octant, and variations of it."""

from functools import cache

from octant.app.policy_file import built_in_policy
from octant.governance.document import PolicyDocument
from octant.governance.document_reader import parse_policy
from octant.governance.governor import Governor

PERMIT_ALL = '@id("all") permit (principal, action, resource);'


@cache
def built_in() -> PolicyDocument:
    """The document that is in force where nobody chose another."""
    return built_in_policy().document


def document(rules: str = "", cedar: str = PERMIT_ALL) -> PolicyDocument:
    """A document that permits everything, with further TOML `rules`."""
    return parse_policy(f"{rules}\n[authorization]\npolicies = '''{cedar}'''\n", "test.toml")


def governor(rules: str = "", cedar: str = PERMIT_ALL) -> Governor:
    """A governor by `document`."""
    return Governor(document(rules, cedar))
