"""Many photos on Ray Data: tokens in bulk, and pictures back from them."""
