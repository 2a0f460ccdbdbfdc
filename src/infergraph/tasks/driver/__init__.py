"""The task driver: turns waiting tasks into finished ones."""
