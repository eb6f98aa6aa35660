"""Events that clients report, handed to the game's own code in the background."""
