"""Loading pretrained networks: nothing goes to standard output, and one line says what is missing."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import torch

from onedpiece._files import one_line
from onedpiece.errors import MissingWeightsError


def missing_weights(what: str, reason: BaseException) -> MissingWeightsError:
    """Return the error that says in one line which weights are missing and what to do."""
    return MissingWeightsError(
        f"the weights of {what} are neither in {torch.hub.get_dir()}/checkpoints nor to be downloaded "
        f"({one_line(reason)}); connect once, or point TORCH_HOME at a folder that holds them"
    )


@contextmanager
def fetching(what: str) -> Iterator[None]:
    """Load pretrained weights inside of this: what torch.hub says goes to standard error.

    torch.hub announces a download on standard output, where a file may be on its way out.

    Args:
        what: the network, for the message.

    Raises:
        MissingWeightsError: in place of any OSError (a URLError too) or RuntimeError inside.
    """
    try:
        with redirect_stdout(sys.stderr or io.StringIO()):
            yield
    except (OSError, RuntimeError) as error:
        raise missing_weights(what, error) from error
