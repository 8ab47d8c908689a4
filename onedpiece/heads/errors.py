"""What can be wrong with a head, or with what it is given."""


class HeadError(ValueError):
    """A head file that is damaged or is none, or codes that a head cannot read; one line."""
