"""The names of this machine in a URL: no proxy leads there, and what listens there is ours."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
