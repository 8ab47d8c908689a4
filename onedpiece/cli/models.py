"""`onedpiece models`: the names that --model takes."""

from onedpiece.cli.streams import say


def models() -> None:
    """List the models there are.

    Beside these, --model takes the folder of any model that was trained with `onedpiece train`.
    """
    from onedpiece.weights import names

    known = names()
    width = max(len(model.name) for model in known)
    for model in known:
        say(f"{model.name:{width}}  {model.note}")
