"""Completion of commands and options by the shell."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

# Where each shell looks by itself, and what it needs besides.
_PLACES = {
    "bash": (".local/share/bash-completion/completions/aecodec", "the package bash-completion must be installed"),
    "fish": (".config/fish/completions/aecodec.fish", ""),
    "zsh": (".zfunc/_aecodec", "~/.zshrc needs `fpath+=~/.zfunc` before compinit"),
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_PLACES)), required=False)
@click.option("--install", is_flag=True, help="Write it to the folder of your home where the shell looks for it.")
@click.pass_context
def completion(ctx: click.Context, shell: str | None, install: bool) -> None:
    """Print or install the script for shell completion. SHELL defaults to your own.

    \b
    aecodec completion --install
    aecodec completion fish | source
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name)
    if name not in _PLACES or kind is None:
        raise click.UsageError(f"SHELL must be bash, fish or zsh, got {name or 'none'}: aecodec completion bash")
    source = kind(ctx.find_root().command, {}, "aecodec", "_AECODEC_COMPLETE").source()
    if not install:
        click.echo(source)
        return
    place, need = _PLACES[name]
    target = Path.home() / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source)
    click.echo(f"wrote {target}; new shells complete aecodec" + (f" ({need})" if need else ""))
