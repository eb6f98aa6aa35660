"""For tests of games and of the platform itself: a platform in process, bots and a clock that can be set."""
