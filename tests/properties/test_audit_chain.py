"""Whoever changes the audit chain in the file, whatever they change, is noticed.

A sample of the campaign: `python -m tests.support.chain_vandal 10000` runs the whole of it.
"""

from pathlib import Path

from tests.support.chain_vandal import campaign

SAMPLE = 300
KINDS = 12


async def test_every_mutation_is_noticed(tmp_path: Path) -> None:
    made, missed = await campaign(tmp_path / "octant.db", SAMPLE, seed=20261121)
    assert missed == []
    assert len(made) == KINDS
