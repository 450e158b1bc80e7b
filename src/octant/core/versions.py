"""The versions that stored or exchanged values carry.

A number changes only when old readers would misread new values; added fields do not change it,
because readers keep the fields they do not know (`core.record`).
"""

ENVELOPE = 1
MANIFEST = 1
OUTCOME = 1
EVENT = 1
POLICY = 1
SUMMARY = 1
# How an answer is held against its contract and its evidence; another number may judge otherwise.
EVALUATOR = 1
