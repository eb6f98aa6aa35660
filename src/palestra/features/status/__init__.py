"""Status: who is online, what they show of themselves, and who is told of it."""
