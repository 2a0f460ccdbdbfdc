"""The gRPC edge over raw bytes, and the two engines that carry it."""
