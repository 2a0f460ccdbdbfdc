"""What the runtime says about itself: logs, metrics, and the units around units that count."""
