"""What can be wrong with weights."""


class WeightsError(ValueError):
    """A model that is not there, is damaged, or is not one of ours; the message is one line."""
