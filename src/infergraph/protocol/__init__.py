"""The facts of the protocol that several parts share: one copy of each."""
