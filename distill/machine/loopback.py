"""The host names in a URL that mean this machine: requests to them bypass proxies, and what listens there is ours."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
