"""The command line: one file per command group, `main.py` puts them together.

Law: a command reads its arguments, calls one thing, prints the result. Results go to standard
output, everything else to standard error; with `--json` the output is one JSON value (or one per
line while something runs). Exit codes: 0 ok, 1 failed check, 2 usage, 3 unavailable.

Commands import what they need inside their functions, because `octant --help` must not wait for
a database driver or an inference engine to load.
"""
