# SPDX-License-Identifier: Apache-2.0
"""Why cases were skipped: one line for each reason, with the names as far as they fit; all of them in a log."""

from collections import Counter

from .terminal import columns, harmless, wrap


def by_reason(notes):
    """{why: Counter of programs}, most cases first, of Counts.reasons."""
    found = {}
    for program, _, why in notes:
        found.setdefault(why, Counter())[program] += 1
    return dict(sorted(found.items(), key=lambda item: -item[1].total()))


def _names(names, room):
    """As many as fit on a line."""
    shown = ", ".join(names)
    if columns(shown) <= room:
        return shown
    kept = list(names)
    while kept and columns(", ".join(kept) + ", …") > room:
        kept.pop()
    return ", ".join([*kept, "…"])


def show(terminal, notes, log):
    """Prints them, and writes them in full."""
    log.write_text("".join(harmless(": ".join(filter(None, note))) + "\n" for note in notes))
    if not notes:
        return
    terminal.title("What was skipped, and why")
    for reason, names in by_reason(notes).items():
        cases = names.total()
        head = wrap(f"{cases} case{'s' if cases > 1 else ''}: {reason}", terminal.width - 4)
        terminal.say("\n".join([f"  {head[0]}", *(f"    {line}" for line in head[1:])]))
        terminal.say("    " + terminal.paint("dim", _names(names, terminal.width - 4)))
    terminal.say(f"  all of them: {log}")
    terminal.say()
