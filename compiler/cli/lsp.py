"""`mpcc lsp`: the language server, on standard input and output. pygls speaks the protocol; this says what is answered.

A text is compiled when it is opened and saved, and when its author pauses; only what the newest text says is shown.
Lines and columns of the protocol are counted from 0, and columns in the units that the editor has agreed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dsl.errors import Diagnostic
    from mpc_runtime.program import Program

PAUSE = 0.3  # seconds without a change
INSTALL = "mpcc lsp needs pygls: pip install 'mpc-runtime[lsp]'"


@click.command(help="Serve an editor over standard input and output: errors, what a name stands for, and layout.")
def lsp() -> None:
    from mpc_runtime.errors import InputError

    try:
        from pygls.lsp.server import LanguageServer
    except ImportError:
        raise InputError(INSTALL) from None
    from lsprotocol import types

    from mpc_runtime.version import VERSION

    server = LanguageServer("mpcc", VERSION, text_document_sync_kind=types.TextDocumentSyncKind.Full)
    texts = Texts(server, types)
    for name, answer in (
        (types.TEXT_DOCUMENT_DID_OPEN, texts.opened),
        (types.TEXT_DOCUMENT_DID_CHANGE, texts.changed),
        (types.TEXT_DOCUMENT_DID_SAVE, texts.opened),
        (types.TEXT_DOCUMENT_DID_CLOSE, texts.closed),
        (types.TEXT_DOCUMENT_HOVER, texts.hover),
        (types.TEXT_DOCUMENT_FORMATTING, texts.formatted),
    ):
        server.feature(name)(_function(answer))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")  # pygls closes it
    with contextlib.redirect_stdout(sys.stderr):
        server.start_io(stdout=answers)


def _function(answer: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """pygls writes attributes into what it is given, which a method does not take."""

    async def answered(params: Any) -> Any:
        return await answer(params)

    return answered


def compiled(text: str) -> tuple[Program | None, tuple[Diagnostic, ...]]:
    """The program, if there is one, and the errors or warnings."""
    from dsl.errors import Diagnostic
    from mpc_runtime.errors import CompileError, CompileWarning, Error
    from mpc_runtime.program import compile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompileWarning)
            program = compile(text=text)
    except Error as error:
        found = error.diagnostics if isinstance(error, CompileError) else ()
        told = tuple(each for each in found if isinstance(each, Diagnostic))
        return None, told or (Diagnostic("<text>", 1, 1, 1, 1, str(error)),)
    return program, program.warnings


class Texts:
    """The open texts: what was found in each, and which of them wait to be compiled. Used by the server's loop."""

    def __init__(self, server: Any, types: Any) -> None:
        """types: the module of the protocol's types, which is there only if pygls is."""
        self._server, self._types = server, types
        self._asked: dict[str, object] = {}
        self._found: dict[str, tuple[str, Program | None, tuple[Diagnostic, ...]]] = {}
        self._one = asyncio.Lock()

    async def opened(self, params: Any) -> None:
        await self._check(params.text_document.uri, 0.0)

    async def changed(self, params: Any) -> None:
        await self._check(params.text_document.uri, PAUSE)

    async def closed(self, params: Any) -> None:
        uri = params.text_document.uri
        self._asked.pop(uri, None)
        self._found.pop(uri, None)
        self._publish(uri, None, [])

    async def hover(self, params: Any) -> Any:
        """What the name under the mouse stands for; None for a text with errors."""
        from compiler.cli.hovering import hover

        document = self._server.workspace.get_text_document(params.text_document.uri)
        program, _ = await self._compiled(document.uri, document.source)
        lines = document.source.split("\n")
        if program is None or params.position.line >= len(lines):
            return None
        at = document.position_codec.position_from_client_units(lines, params.position)
        found = await asyncio.to_thread(hover, program, at.line + 1, at.character + 1)
        if found is None:
            return None
        span = found.span
        places = (span.line, span.column, span.end_line, span.end_column)
        content = self._types.MarkupContent(self._types.MarkupKind.Markdown, found.text)
        return self._types.Hover(content, self._range(document, lines, *places))

    async def formatted(self, params: Any) -> Any:
        """One edit of all the text, none where nothing changes; None for a text with syntax errors."""
        from dsl.errors import SyntaxErrors
        from dsl.layout import layout

        source = self._server.workspace.get_text_document(params.text_document.uri).source
        try:
            after = await asyncio.to_thread(layout, source)
        except SyntaxErrors:
            return None
        if after == source:
            return []
        start, end = (self._types.Position(line, 0) for line in (0, source.count("\n") + 1))
        return [self._types.TextEdit(self._types.Range(start, end), after)]

    async def _check(self, uri: str, pause: float) -> None:
        """Compiles a text and shows what was found, unless it is asked again meanwhile."""
        self._asked[uri] = mine = object()
        await asyncio.sleep(pause)
        if self._asked.get(uri) is not mine:
            return
        document = self._server.workspace.get_text_document(uri)
        source, version = document.source, document.version
        _, diagnostics = await self._compiled(uri, source)
        if self._asked.get(uri) is mine:
            lines = source.split("\n")
            self._publish(uri, version, [self._diagnostic(document, lines, each) for each in diagnostics])

    async def _compiled(self, uri: str, source: str) -> tuple[Program | None, tuple[Diagnostic, ...]]:
        """Once for each text; one at a time, since warnings are the interpreter's."""
        async with self._one:
            found = self._found.get(uri)
            if found is None or found[0] != source:
                found = (source, *await asyncio.to_thread(compiled, source))
                self._found[uri] = found
        return found[1:]

    def _publish(self, uri: str, version: int | None, diagnostics: Sequence[Any]) -> None:
        given = self._types.PublishDiagnosticsParams(uri, list(diagnostics), version)
        self._server.text_document_publish_diagnostics(given)

    def _diagnostic(self, document: Any, lines: Sequence[str], found: Diagnostic) -> Any:
        severities = self._types.DiagnosticSeverity
        notes = [
            self._types.DiagnosticRelatedInformation(
                self._types.Location(
                    document.uri,
                    self._range(document, lines, span.line, span.column, span.end_line, span.end_column),
                ),
                label,
            )
            for span, label in found.notes
        ]
        return self._types.Diagnostic(
            range=self._range(document, lines, found.line, found.column, found.end_line, found.end_column),
            message=found.message + (f"\nhelp: {found.help}" if found.help else ""),
            severity=severities.Error if found.severity == "error" else severities.Warning,
            source="mpcc",
            related_information=notes or None,
        )

    def _range(
        self, document: Any, lines: Sequence[str], line: int, column: int, end_line: int, end_column: int
    ) -> Any:
        """From lines and columns counted from 1, in characters."""
        ends = []
        for row, place in ((line, column), (end_line, end_column)):
            text = lines[row - 1] if 0 < row <= len(lines) else ""
            units = document.position_codec.client_num_units(text[: place - 1])
            ends.append(self._types.Position(max(row - 1, 0), units))
        return self._types.Range(*ends)
