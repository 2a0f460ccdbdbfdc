"""Seldon's client, batch command, testers and test servers, imported by their old names (`seldon_core.seldon_client`).

They are written on what `seldon_core` offers to everybody, so they are imported where that can be: after
`infergraph.compat.install()`, under pytest, by `python -m infergraph.compat`. Nothing that serves uses them.
"""
