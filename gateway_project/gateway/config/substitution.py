"""`${VAR}` and `${VAR:-default}` in the values of gateway.yaml; `$$` is a literal `$`."""

import re
from collections.abc import Mapping

REFERENCE = re.compile(
    r"""
    \$ (?:
        (?P<literal> \$ )
      | \{ (?P<name> [A-Za-z_][A-Za-z0-9_]* ) (?: :- (?P<default> [^{}]* ) )? \}
      | (?P<malformed>)
    )
    """,
    re.VERBOSE,
)


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with its references replaced; raise `ValueError` with what is wrong.

    As in a shell, `:-` takes the default where the variable is empty too. What is put in is not looked at again.
    """

    def replacement(reference: re.Match[str]) -> str:
        if reference["literal"]:
            return "$"
        name, default = reference["name"], reference["default"]
        if name is None:
            raise ValueError(
                "malformed reference. Write ${NAME}, ${NAME:-default} (in quotes between braces), or $$ for a $."
            )
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise ValueError(f"the environment variable {name} is not set. Set it, or write a default: ${{{name}:-…}}.")
        return environ[name]

    return REFERENCE.sub(replacement, text)
