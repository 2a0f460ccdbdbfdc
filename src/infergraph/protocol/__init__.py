"""The constants of the protocol: paths, services, status codes, annotations, headers.

Servers, nodes, clients, the console, the OpenAPI document and the metrics read them here.
"""
