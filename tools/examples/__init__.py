"""Short scripts that read like a tutorial: the smallest path from tokens to something useful."""
