"""Groups: roles, requests, bans, and the lists of groups and members."""
