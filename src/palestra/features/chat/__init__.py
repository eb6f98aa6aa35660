"""Chat: rooms, groups and direct conversations over sockets, and the history of what is said in them."""
