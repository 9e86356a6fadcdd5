"""The command `harken push`: parse the options and upload the model."""

from typing import Annotated

import typer


def push(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model file, run folder, or name of a bundled model.")],
    uri: Annotated[
        str, typer.Argument(metavar="hf://OWNER/NAME", help="Repository on the Hub. It is created if needed.")
    ],
    license_id: Annotated[
        str | None,
        typer.Option(
            "--license", help="License, as the Hub names it, such as `apache-2.0`. Default: the model file's."
        ),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Code of the words' language, such as `en`. Default: the model file's.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create the repository as private.")] = False,
) -> None:
    """Publish a model on the Hugging Face Hub, with a model card.

    Log in first, with `hf auth login`. Others can then use the model as `--model hf://OWNER/NAME`.
    """
    from harken.export.hub import push_model

    print(push_model(model, uri, license_id=license_id, language=language, private=private))
