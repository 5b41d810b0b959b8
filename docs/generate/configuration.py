"""docs/configuration.md, from the configuration's types and the comments of config.yaml."""

import re
from pathlib import Path

import msgspec
from schema import fields, summary, table

from specdiffd.base.config import Config
from specdiffd.base.yaml_files import MAX_FILE_BYTES

SOURCE = Path(__file__).parents[2] / "config.yaml"
HEAD = f"""# Configuration

<!-- Written by `make docs` from specdiffd/base/config.py and config.yaml. Change those. -->

The configuration is a YAML file of sections with keys. [config.yaml](../config.yaml) is a copy with every default to start from. You
need only the keys that you change.

The file is `~/.config/specdiffd/config.yaml` (or `$XDG_CONFIG_HOME/specdiffd/config.yaml`). Another one is named with `-c`, and `-o`
overrides single keys:

```sh
specdiffd run -c config.yaml
specdiffd run -o audio.device=jack -o audio.gain_db=-6
specdiffd run -o 'midi.connect=["KeyLab", "USB*"]'
```

The whole configuration is checked before anything starts. An unknown section, an unknown key or a value of the wrong type or range ends
the start with exit code 2, and the message names the key and the nearest valid one. Texts must be free of control characters. A file may
have {MAX_FILE_BYTES >> 20} MiB.

`specdiffd ctl get section.key` reads a key of the running daemon. `audio.gain_db` can be changed while the daemon runs
(`specdiffd ctl gain -6`). Every other change needs a restart.
"""


def configuration_page() -> str:
    """The page as Markdown.

    Raises:
        KeyError: a key has no comment in config.yaml.
    """
    comments = read_comments(SOURCE.read_text(encoding="utf-8"))
    return "\n".join([HEAD, *(_section(f.name, type(getattr(Config(), f.name)), comments) for f in msgspec.structs.fields(Config))])


def _section(name: str, kind: type[msgspec.Struct], comments: dict[str, str]) -> str:
    rows = [(f"`{f.name}`", f.words.kind, f"`{f.default}`", f.words.range, comments[f"{name}.{f.name}"]) for f in fields(kind)]
    return f"## {name}\n\n{summary(kind)}\n\n{table(('key', 'type', 'default', 'range', 'what it does'), *rows)}\n"


def read_comments(text: str) -> dict[str, str]:
    """The comment behind each ``section.key``, with the comment lines below it."""
    found: dict[str, str] = {}
    section = key = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"(\w+):", line):
            section, key = match[1], ""
        elif match := re.fullmatch(r"  (\w+):[^#]*(?:# (.*))?", line):
            key = f"{section}.{match[1]}"
            if match[2]:
                found[key] = match[2]
        elif (match := re.fullmatch(r"\s+# (.*)", line)) and key:
            found[key] = f"{found[key]} {match[1]}" if key in found else match[1]
    return {name: comment.replace("|", "\\|") for name, comment in found.items()}
