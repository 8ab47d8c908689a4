"""What can go wrong with a target."""


class TargetOutOfReachError(Exception):
    """No prefix of the code reaches the target; the message, one line, says what the best one reaches.

    Attributes:
        score: the best score there is.
        tokens: how many tokens it takes.
    """

    def __init__(self, message: str, score: float, tokens: int) -> None:
        super().__init__(message)
        self.score = score
        self.tokens = tokens
