"""The command line: one file a verb; parsing and printing, with heavy imports inside the verbs."""
