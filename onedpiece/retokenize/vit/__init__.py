"""Reducers inside a vision transformer: how one block is reached, and what each method does in it."""
