"""The one place that knows both sides: use cases and adapters.

One module per function, each with a `build` that makes what its handler needs, and kits of what several share. A module
imports only what its function uses: a cold start should not load what it never calls.
"""
