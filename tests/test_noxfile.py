"""Where the noxfile's environments are installed from, by uv as by pip."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def noxfile() -> ModuleType:
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_uv_is_told_what_pip_is_told(noxfile: ModuleType) -> None:
    lines = [
        "global.cert='/etc/ours.pem'",
        "global.extra-index-url='https://one.example/simple https://two.example/simple'",
        "global.find-links='/wheels\\n/more'",
        "global.index-url='https://user:pass=word@mirror.example/simple'",
        "global.trusted-host='mirror.example'",
        "global.user='true'",
    ]
    assert noxfile.uv_settings("\n".join(lines)) == {
        "SSL_CERT_FILE": "/etc/ours.pem",
        "UV_DEFAULT_INDEX": "https://user:pass=word@mirror.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "mirror.example",
    }


def test_variables_precede_files_as_in_pip(noxfile: ModuleType) -> None:
    everywhere = [":env:.index-url='https://c'", "install.index-url='https://b'", "global.index-url='https://a'"]
    for lines in (everywhere, everywhere[::-1]):
        assert noxfile.uv_settings("\n".join(lines)) == {"UV_DEFAULT_INDEX": "https://c"}
    assert noxfile.uv_settings("\n".join(everywhere[1:])) == {"UV_DEFAULT_INDEX": "https://b"}


def test_what_pip_itself_lists_is_understood(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_TRUSTED_HOST", "mirror.example")
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    assert noxfile.uv_settings(listed.stdout)["UV_INSECURE_HOST"] == "mirror.example"
