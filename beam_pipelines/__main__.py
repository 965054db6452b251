"""`python -m beam_pipelines`: the commands of this package without the others."""

from __future__ import annotations

import click

from beam_pipelines.cli import features, fetch

main = click.Group("beam_pipelines", commands={"fetch": fetch, "features": features})

if __name__ == "__main__":
    main()
