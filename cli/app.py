"""The program: its commands, and how it ends."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import Any, NoReturn

import click

import aecodec
from aecodec.cli import anomaly, coding, generation, inspection, search, shell, show, training
from aecodec.cli.files import MisuseError
from aecodec.cli.options import reporting, share_freed_memory
from aecodec.cli.reporter import Reporter, printable, reason, told


class Group(click.Group):
    """Turns the library's errors into one line on stderr and exit code 1, and its warnings into notes."""

    def invoke(self, ctx: click.Context) -> Any:
        report = ctx.ensure_object(Reporter)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", aecodec.PictureWarning)
                show: Any = report.note  # the stub of showwarning names each argument
                warnings.showwarning = show
                return super().invoke(ctx)
        except aecodec.UnsupportedError as error:
            hint = " (--weights names a file of others)" if "needs weights" in str(error) else ""
            raise click.ClickException(told(error) + hint) from error
        except aecodec.CodecError as error:
            kind = click.UsageError if isinstance(error, MisuseError) else click.ClickException
            raise kind(told(error)) from error
        except BrokenPipeError:  # whoever read the output has enough; click ends without a word
            raise
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(printable(f"{name}{error.strerror or error}")) from error
        except click.ClickException as error:
            if error.message:  # else click makes one up
                error.message = told(error)  # type: ignore[misc] # final for click, whose message it is no more
            raise
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, click.exceptions.Exit | click.Abort) or reason(error) != "out of memory":
                raise
            raise click.ClickException("out of memory") from error


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(aecodec.__version__, prog_name="aecodec", message="%(prog)s %(version)s")
@reporting
def main() -> None:
    """Learned image compression: small .aec files that decode the same everywhere.

    \b
    aecodec encode photo.png photo.aec
    aecodec decode photo.aec photo.png
    """
    share_freed_memory()


for command in (
    coding.encode,
    coding.decode,
    coding.thumbnail,
    inspection.verify,
    inspection.info,
    inspection.compare,
    show.show,
    search.embed,
    search.similar,
    search.duplicates,
    search.map_,
    anomaly.anomaly,
    generation.sample,
    generation.interpolate,
    training.train,
    training.export,
    shell.completion,
):
    main.add_command(command)


def run() -> NoReturn:
    """The program: main, and out at once, since taking torch down would need half a second."""
    for number in range(3):  # what is closed would become the number of the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    code: Any = 1
    try:
        main(prog_name="aecodec")
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # nobody reads, or a full disk
            code = code or 1
    os._exit(code if isinstance(code, int) else int(code is not None))
