"""L1, the edge: bytes in, `RequestEnvelope` out; stream items in, bytes out.

Law: nothing after the gateway knows HTTP, a header or a dialect, and nothing here decides about
admission, routing or retries. Entry point: `application.create_application`.
"""
