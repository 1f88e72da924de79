"""Files for tests: written, loaded, and what is wrong with them."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, Timeouts, load

HEAD = "version: 1\nservices: {a: {url: 'http://a'}}\nroutes:\n"


def read(tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, environ or {})


def faults(tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text, environ)
    count = len(refused.value.faults)
    assert str(refused.value).splitlines() == [
        *(line for fault in refused.value.faults for line in str(fault).splitlines()),
        "1 fault" if count == 1 else f"{count} faults",
    ]
    return [str(fault).removeprefix(f"{tmp_path}/gateway.yaml:") for fault in refused.value.faults]


def route(**keys: str) -> str:
    """Return one route, its keys in lines 4 (path), 5 (service), 6 (allow), and then those given."""
    keys = {"path": "/x", "service": "a", "allow": "public"} | keys
    return HEAD + "  - " + "\n    ".join(f"{key}: {value}" for key, value in keys.items()) + "\n"


def timeouts(connect: str, total: str) -> Timeouts:
    return Timeouts.model_validate({"connect": connect, "total": total})
