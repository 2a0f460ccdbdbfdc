"""HTTP: connections, what is served where, the two dialects of the protocol; `listener` opens a port."""
