"""The operators' side of a node, on a port of its own."""
