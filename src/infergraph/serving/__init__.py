"""The network comes in here and nowhere else: REST, gRPC, tasks and the console, over one unit."""
