"""SystemEntropy: random bytes of the operating system, fit for keys."""

import os


class SystemEntropy:
    """Implements ports.entropy.Entropy."""

    def bytes(self, count: int) -> bytes:
        """`count` bytes that nobody can predict."""
        return os.urandom(count)
