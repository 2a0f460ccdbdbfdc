"""The process tree: the supervisor, its serving workers and the task driver."""
