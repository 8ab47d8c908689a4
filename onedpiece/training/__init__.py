"""Training of tokenizers: Lightning modules, data, losses, schedule and command line."""
