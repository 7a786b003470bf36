# SPDX-License-Identifier: Apache-2.0
"""What `meson install` gives: programs, manual pages, completion, and the engine as a library for others."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from godwit_tools.paths import build_dir

ROOT = Path(__file__).resolve().parents[2]
C_WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Werror"]


def output(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def search_path():
    return output("pkg-config", "--variable=pc_path", "pkg-config").strip().split(":")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that stands for the root of a system."""
    folder = tmp_path_factory.mktemp("root")
    output("meson", "install", "-C", build_dir(), "--no-rebuild", "--destdir", folder)
    return folder


@pytest.fixture(scope="module")
def pkg_config(installed):
    """Asks as on that system: it looks nowhere but where this system's pkg-config looks."""
    folders = [f"{installed}{folder}" for folder in search_path()] + search_path()

    def ask(*options):
        environment = dict(os.environ, PKG_CONFIG_LIBDIR=":".join(folders), PKG_CONFIG_SYSROOT_DIR=str(installed))
        environment.pop("PKG_CONFIG_PATH", None)
        return output("pkg-config", *options, "godwit", env=environment).split()
    return ask


def test_programs_manual_pages_and_completion_are_there(installed):
    prefix = installed / "usr/local"
    assert sorted(file.name for file in (prefix / "bin").iterdir()) == ["godwit", "godwit-vmm"]
    assert sorted(file.name for file in (prefix / "share/man/man1").iterdir()) == ["godwit-cpu.1", "godwit-vmm.1", "godwit.1"]
    assert (prefix / "share/bash-completion/completions/godwit").exists()
    version = output(prefix / "bin/godwit", "--version").split()[1]
    assert output(prefix / "bin/godwit-vmm", "--version") == f"godwit-vmm {version}\n"


def test_the_installed_godwit_finds_the_installed_vmm(installed, tmp_path):
    """It starts no other one: PATH has a godwit-vmm that fails."""
    (tmp_path / "godwit-vmm").write_text("#!/bin/false\n")
    (tmp_path / "godwit-vmm").chmod(0o755)
    environment = dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}")
    godwit = [installed / "usr/local/bin/godwit", "--run-dir", tmp_path / "run"]
    output(*godwit, "receive", "--name", "a", "tcp:127.0.0.1:0", "--detach", env=environment)
    pid = json.loads(output(*godwit, "status", "a", "--json"))["machine"]["pid"]
    try:
        assert os.readlink(f"/proc/{pid}/exe") == str(installed / "usr/local/bin/godwit-vmm")
    finally:
        output(*godwit, "stop", "a", "--force")


@pytest.mark.parametrize("compiler", [["gcc", "-std=c99"], ["gcc", "-std=c17"], ["g++"], ["clang", "-std=c99"], ["clang++"]], ids="".join)
def test_the_example_compiles_and_moves_its_guest(pkg_config, tmp_path, compiler):
    """That of docs/embedding.md."""
    if not shutil.which(compiler[0]):
        pytest.skip(f"{compiler[0]} is not installed")
    example = re.search(r"```c\n(.*?)```", (ROOT / "docs/embedding.md").read_text(), re.DOTALL).group(1)
    source = tmp_path / ("example.cc" if "++" in compiler[0] else "example.c")
    source.write_text(example)
    output(*compiler, *C_WARNINGS, source, "-o", tmp_path / "example", *pkg_config("--cflags", "--libs"))
    printed = output(tmp_path / "example")
    assert re.fullmatch(r"waits at tcp:127\.0\.0\.1:\d+\noffered: \{\"machine\": \"example-1\"\}\n"
                        r"completed: the guest runs there, its device has 42, its memory is the same\n", printed)


def test_the_module_has_the_version_of_the_programs(installed, pkg_config):
    assert output(installed / "usr/local/bin/godwit", "--version").split()[1] == pkg_config("--modversion")[0]


def planned(tmp_path, *options, path=None):
    """The folders of the library and of its module, as a build made with these options would install them."""
    output("meson", "setup", tmp_path / "build", ROOT, "-Dtests=false", *options,
           env=dict(os.environ, PATH=f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]))
    files = json.loads(output("meson", "introspect", "--installed", tmp_path / "build")).values()
    return [Path(file).parent for name in ("libgodwit.a", "godwit.pc") for file in files if Path(file).name == name]


def test_pkg_config_looks_where_the_module_goes_without_dpkg_dev(tmp_path):
    """Without that package's dpkg-architecture meson does not know Debian's folder of libraries, and takes lib64."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dpkg-architecture").write_text("#!/bin/false\n")
    (tmp_path / "bin/dpkg-architecture").chmod(0o755)
    library, module = planned(tmp_path, path=tmp_path / "bin")
    prefix = "/usr/local"
    assert str(module) in search_path() or not any(folder.startswith(prefix) for folder in search_path())
    assert f"{library}/" in output("gcc", "-print-search-dirs") or str(library) in output("ld", "--verbose")


@pytest.mark.parametrize("libdir", ["lib", "lib/somewhere", "/opt/elsewhere/lib"])
def test_a_folder_that_was_chosen_is_taken(tmp_path, libdir):
    library, module = planned(tmp_path, f"-Dlibdir={libdir}")
    assert library == Path("/usr/local") / libdir
    assert module == library / "pkgconfig"
