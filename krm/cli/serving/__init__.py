"""The commands that serve: one program each (stream, verify, aggregate, serve), or all of them together (demo, run)."""
