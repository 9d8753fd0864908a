"""`jtask completion`: what a shell needs to complete commands and options."""

import click

_SHELLS = click.Choice(["bash", "zsh", "fish"])


@click.command()
@click.argument("shell", type=_SHELLS)
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete the commands and options of jtask.

    Put `eval "$(jtask completion bash)"` into ~/.bashrc, the same with zsh into ~/.zshrc, or
    `jtask completion fish | source` into ~/.config/fish/config.fish.
    """
    from click.shell_completion import get_completion_class

    program = ctx.find_root()
    kind = get_completion_class(shell)
    if kind is not None:
        name = program.info_name or "jtask"
        variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
        # Not `source()`: for bash it starts one to ask for its version.
        made = kind(program.command, {}, name, variable)
        click.echo(made.source_template % made.source_vars())
