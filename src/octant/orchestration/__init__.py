"""L3: the request path, routing and attempts. `request_path.py` is the page to read first."""
