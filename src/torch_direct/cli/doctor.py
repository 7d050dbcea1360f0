"""`torch-direct doctor`."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from torch_direct.diagnosis import Verdict, diagnose

_MARKS = {
    Verdict.GOOD: "[green]ok[/green]",
    Verdict.NOTE: "[yellow]note[/yellow]",
    Verdict.BROKEN: "[red]broken[/red]",
}


def doctor() -> None:
    """Say whether this machine can use unified memory, and if not, why."""
    console = Console()
    findings = []
    for finding in diagnose():
        findings.append(finding)
        table = Table.grid(padding=(0, 2))
        table.add_column(width=6)
        table.add_column(width=20)
        remedy = f"\n[dim]→ {finding.remedy}[/dim]" if finding.remedy else ""
        table.add_row(_MARKS[finding.verdict], finding.subject, finding.found + remedy)
        console.print(table)
    broken = [finding.subject for finding in findings if finding.verdict is Verdict.BROKEN]
    if broken:
        console.print(
            f"\nUnified memory cannot work on a GPU here ({', '.join(broken)}). Everything still "
            "runs, on the CPU."
        )
        raise typer.Exit(1)
    console.print("\nUnified memory works on this machine.")
