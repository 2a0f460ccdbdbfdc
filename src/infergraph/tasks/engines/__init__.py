"""The engines, which run task workers behind one interface."""
