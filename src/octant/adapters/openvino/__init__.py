"""OpenVINO: the embedded engine's executor, and the tools that prepare models for it.

Law: nothing is reported to anybody. `import openvino` sends an event to an analytics service unless
its telemetry package is missing, so here it is missing, before anything imports OpenVINO.
"""

import sys

sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType] # "not importable"
