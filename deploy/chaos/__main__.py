"""Write what is generated from the experiments: `python -m deploy.chaos`.

| from | to |
|---|---|
| the format (`shop.stage.gameday.experiment`) | `experiment.schema.json` |
| `*.toml` | `chaos-mesh/*.yaml` |
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from deploy.chaos import mesh
from shop.stage.gameday.experiment import Experiment, parse, schema

HERE = Path(__file__).parent
SCHEMA = HERE / "experiment.schema.json"
MESH = HERE / "chaos-mesh"


def experiments() -> list[Experiment]:
    """The experiments there are."""
    return [parse(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("*.toml"))]


def generated() -> dict[Path, str]:
    """The text of each file that is generated."""
    files = {MESH / f"{each.name}.yaml": _mesh_file(each) for each in experiments()}
    return {SCHEMA: json.dumps(schema(), indent=2) + "\n", **files}


def _mesh_file(experiment: Experiment) -> str:
    head = [f"Generated from {experiment.name}.toml by `python -m deploy.chaos`; a test compares the two."]
    head += [f"Only the shop itself acts out {fault}." for fault in mesh.left_out(experiment)]
    head += [f"{line}." for line in mesh.begins(experiment)]
    documents = yaml.safe_dump_all(mesh.resources(experiment), sort_keys=False, explicit_start=True)
    return "".join(f"# {line}\n" for line in head) + documents


def main() -> int:
    """Write the files."""
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
