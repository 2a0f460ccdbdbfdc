"""The outgoing half of the network: one client for each protocol, for nodes, clients, collectors and webhooks.

A call goes to an `Address`; everything kept for it (idle connections, a channel) belongs to a client of that address. A
node with several addresses is several such clients and what chooses among them.
"""
