"""The web console: its templates and static files, and what they show. Served by `infergraph.serving.console`.

scene      what is served, as plain data
figures    the ledgers, read now and then
picture    the graph with its figures
arms       what routers have learnt
texts      English and Chinese
pages      templates to HTML
"""
