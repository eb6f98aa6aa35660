"""Where cached values lie: in the memory of a node, and in a server that all nodes share."""
