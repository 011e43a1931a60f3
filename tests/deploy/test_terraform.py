"""Terraform's files: HCL, laid out as `terraform fmt` does, every name there, both regions alike."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks import terraform
from deploy.checks.terraform import TERRAFORM

REGIONS = ("eu", "us")
MAY_DIFFER = {"name", "cidr", "zones", "region_host"}


def test_every_file_is_hcl_and_laid_out_as_terraform_does() -> None:
    files = sorted(TERRAFORM.rglob("*.tf"))
    assert len(files) > 20
    broken = {str(path): told for path in files if (told := list(terraform.layout(path.read_text(encoding="utf-8"))))}
    assert broken == {}


def test_every_name_that_a_module_uses_is_there() -> None:
    assert [fault for folder in terraform.folders() for fault in terraform.names(folder)] == []


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("modules/region/main.tf", "var.cidr\n", "var.cidrs\n", "region: var.cidrs is not there"),
        (
            "modules/region/main.tf",
            "module.network.vpc_id",
            "module.network.vpc",
            "region: module.network has no output vpc",
        ),
        (
            "modules/region/main.tf",
            '  name = var.name\n}\n\nmodule "network"',
            '}\n\nmodule "network"',
            "region: module.keys needs name",
        ),
        ("environments/eu/main.tf", "  nodes_min ", "  nodes_mini", "eu: module.region does not know nodes_mini"),
        (
            "modules/keys/main.tf",
            "data.aws_region.this.region",
            "data.aws_region.here.region",
            "keys: data.aws_region is not there",
        ),
    ],
)
def test_a_name_that_is_not_there_is_seen(tmp_path: Path, path: str, old: str, new: str, said: str) -> None:
    copied = tmp_path / "terraform"
    shutil.copytree(TERRAFORM, copied)
    text = (copied / path).read_text(encoding="utf-8")
    assert old in text
    (copied / path).write_text(text.replace(old, new), encoding="utf-8")
    assert said in list(terraform.names((copied / path).parent))


OTHERWISE = (
    "a = 1\nbcd = 2\n",
    "locals {\n   a = 1\n}\n",
    "locals {\n  a  = 1\n}\n",
    "locals {\n  a = [\n  1,\n  ]\n}\n",
    "a = 1 \n",
)


@pytest.mark.parametrize("text", [*OTHERWISE, "a = 1", "a = 1\n\n"])
def test_another_layout_is_seen(text: str) -> None:
    assert list(terraform.layout(text)) != []


@pytest.mark.skipif(not shutil.which("terraform"), reason="Debian has no terraform; our own check of the layout runs")
def test_terraform_itself_changes_nothing_and_sees_what_we_see(tmp_path: Path) -> None:
    for number, text in enumerate(OTHERWISE):
        (tmp_path / f"{number}.tf").write_text(text, encoding="utf-8")
    ended = subprocess.run(["terraform", "fmt", "-check", str(tmp_path)], capture_output=True, text=True, check=False)
    assert len(ended.stdout.split()) == len(OTHERWISE)
    ended = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", str(TERRAFORM)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "")


def region(name: str) -> dict[str, Any]:
    call = terraform.named(terraform.read(TERRAFORM / "environments" / name)["module"])["region"]
    return {key: value for key, value in call.items() if not key.startswith("__")}


def test_both_regions_are_alike_but_in_name_and_place() -> None:
    first, second = (region(name) for name in REGIONS)
    assert first.keys() == second.keys()
    assert {key for key in first if first[key] != second[key]} == MAY_DIFFER
    for name in ("variables.tf", "outputs.tf"):
        texts = {(TERRAFORM / "environments" / each / name).read_text(encoding="utf-8") for each in REGIONS}
        assert len(texts) == 1, name


def test_networks_do_not_overlap_and_the_chart_opens_the_ways_to_their_stores() -> None:
    networks = {name: ipaddress.ip_network(str(region(name)["cidr"]).strip('"')) for name in REGIONS}
    assert not networks["eu"].overlaps(networks["us"])
    outputs = (TERRAFORM / "modules" / "network" / "outputs.tf").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"(postgres|valkey) *= cidrsubnet\(var\.cidr, 4, (\d+)\)", outputs))
    for name, network in networks.items():
        path = TERRAFORM.parent / "gitops" / "environments" / name / "values.yaml"
        stores = yaml.safe_load(path.read_text(encoding="utf-8"))["stores"]
        parts = list(network.subnets(prefixlen_diff=4))
        assert stores == {store: {"cidrs": [str(parts[int(number)])]} for store, number in blocks.items()}
