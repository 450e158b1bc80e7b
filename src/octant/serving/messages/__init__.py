"""Messages across the engine's process boundary; one file for each direction.

Both ends are always of one build, so these are plain msgpack structs without version or unknown
fields.
"""
