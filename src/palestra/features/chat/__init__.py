"""Chat: messages kept in the history of rooms, groups and direct conversations."""
