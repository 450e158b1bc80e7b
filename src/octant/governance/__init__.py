"""L2 governance: what may be asked, answered and done, decided outside the model."""
