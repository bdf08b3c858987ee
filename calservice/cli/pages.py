"""Help pages in the manner of manual pages, suggestions for words that are wrong, completion of words half written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

__all__ = ["CRDS_ENVIRONMENT", "JOB_STATUS", "Page", "RunPage", "complete_word", "completion"]

JOB_STATUS: Mapping[str, str] = {
    "0": "Everything was made, or is up to date.",
    "1": "Something failed, or nothing could start.",
    "64": "All that failed held no science data.",
}
_STATUS: Mapping[str, str] = {"0": "Done.", "1": "An error; its message says what."}

CRDS_ENVIRONMENT: Mapping[str, str] = {
    "CRDS_PATH": "Folder of the CRDS cache.",
    "CRDS_SERVER_URL": "Server that references come from; without it the cache must hold what is needed.",
    "CRDS_CONTEXT": "Context, unless --context names one [default: the server's].",
}


class Page(click.Command):
    """A command whose help is laid out like a manual page.

    The first line of its docstring is its summary; what follows ``Examples:`` are its examples.

    Parameters
    ----------
    exit_status : mapping of str to str
        What each exit status means.
    environment : mapping of str to str
        Variables of the environment that it reads.
    """

    def __init__(
        self,
        *args: Any,
        exit_status: Mapping[str, str] = _STATUS,
        environment: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(*args, **extra)
        self.exit_status = exit_status
        self.environment = environment or {}

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the page."""
        summary, text, examples = self._parts()
        with formatter.section("Name"):
            formatter.write_text(f"{ctx.command_path} - {summary}")
        with formatter.section("Synopsis"):
            formatter.write_text(" ".join([ctx.command_path, *self.collect_usage_pieces(ctx)]))
        if text:
            with formatter.section("Description"):
                formatter.write_text(text)
        self.format_options(ctx, formatter)
        _listed(formatter, "Exit status", self.exit_status)
        _listed(formatter, "Environment", self.environment)
        if examples:
            with formatter.section("Examples"):
                for line in examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")

    def _parts(self) -> tuple[str, str, list[str]]:
        """Return summary, description and examples, from the docstring."""
        before, _, after = inspect.cleandoc(self.help or "").replace("\b\n", "").partition("Examples:\n")
        summary, _, text = before.partition("\n\n")
        examples = [line.strip() for line in after.splitlines() if line.strip()]
        return " ".join(summary.split()).rstrip("."), text.strip(), examples


def _listed(formatter: click.HelpFormatter, title: str, rows: Mapping[str, str]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(list(rows.items()))


class RunPage(Page):
    """``run``: completes pipelines, steps and their parameters."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return what a half-written word may become."""
        words: Sequence[str] = ctx.params.get("words") or ()
        return super().shell_complete(ctx, incomplete) + (_parameters(words[0], incomplete) if words else [])


def complete_word(ctx: click.Context, argument: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the first word of ``run``, a pipeline or step, and the second, a file."""
    from calservice import describe

    found = [] if ctx.params.get("words") else [a for a in describe.aliases() if a.startswith(incomplete)]
    return [CompletionItem(alias) for alias in found] or [CompletionItem(incomplete, type="file")]


def _parameters(name: str, incomplete: str) -> list[CompletionItem]:
    """Complete ``--steps.<step>.`` before ``--steps.<step>.<name>=``, so that lists stay short."""
    from calservice import describe
    from calservice.model.errors import ParameterError

    try:
        known = describe.assignments(describe.find(name))
    except ParameterError:
        return []
    asked = incomplete.lstrip("-")
    depth = asked.count(".")
    found: dict[str, str] = {}
    for dotted, parameter in known.items():
        if dotted.startswith(asked):
            parts = dotted.split(".")
            whole = len(parts) <= depth + 1
            found.setdefault(dotted + "=" if whole else ".".join(parts[: depth + 1]) + ".", parameter.help * whole)
    return [CompletionItem(f"--{word}", help=meaning or None) for word, meaning in found.items()]


@click.command(cls=Page)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete calservice's words.

    Commands, options, pipelines, steps, parameters and files are completed.

    \b
    Examples:
      eval "$(calservice completion bash)"                 in ~/.bashrc
      eval "$(calservice completion zsh)"                  in ~/.zshrc
      calservice completion fish > ~/.config/fish/completions/calservice.fish
    """
    from click.shell_completion import get_completion_class

    context = click.get_current_context()
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "calservice", "_CALSERVICE_COMPLETE").source())
