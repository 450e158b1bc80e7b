"""Regions whose national telephone numbers can be recognised, as the policy file names them."""

from phonenumbers import SUPPORTED_REGIONS

REGIONS: tuple[str, ...] = tuple(sorted(SUPPORTED_REGIONS))
