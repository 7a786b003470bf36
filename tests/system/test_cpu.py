# SPDX-License-Identifier: Apache-2.0
"""godwit cpu, as a person and a script use it. What needs KVM is skipped where /dev/kvm does not open."""

import copy
import json
import os
import subprocess

import pytest
from godwit_tools.patience import PATIENCE_S
from godwit_tools.paths import build_dir

GODWIT = build_dir() / "godwit"
LEVELS = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]


def cpu(*arguments, code=0, cwd=None):
    """One `godwit cpu`; its standard output, or what it said when `code` is not 0."""
    done = subprocess.run([str(GODWIT), "cpu", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S,
                          stdin=subprocess.DEVNULL, cwd=cwd)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert code == 0 or done.stdout == ""
    return done.stderr if code else done.stdout


def why_no_kvm():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return f"/dev/kvm does not open here: {error.strerror}"
    reason = json.loads(cpu("--json"))["kvm"].get("reason") or ""
    return reason if "built without KVM" in reason else None


@pytest.fixture(scope="module")
def kvm():
    """Skips with the reason where there is none."""
    if why_no_kvm():
        pytest.skip(why_no_kvm())


needs_kvm = pytest.mark.usefixtures("kvm")


@pytest.fixture(scope="module")
def report():
    return json.loads(cpu("--json"))


def save(directory, name, content):
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def leaf_of(report, function, index=None):
    """The registers of a leaf: [function, index, eax, ebx, ecx, edx], to be changed in place."""
    return next(leaf for leaf in report["host_model"]["cpuid"] if leaf[:2] == [function, index])


def poorer(report):
    """Another host of the same maker: without syscall's neighbour nx, and told its own name."""
    other = copy.deepcopy(report)
    leaf_of(other, 0x80000001)[5] &= ~(1 << 20)
    leaf_of(other, 0x80000002)[2:] = [0x656E6F] + [0] * 3  # "one"
    return other


# This host


@needs_kvm
def test_a_person_sees_all_of_it_in_a_few_rows(report):
    text = cpu()
    for word in ["This host", report["processor"]["vendor"], report["kvm"]["module"], "MHz", "host  ", *LEVELS,
                 "microvm-1", "riscv-virt-1"]:
        assert word in text
    assert len(text.splitlines()) < 30


@needs_kvm
def test_what_kind_of_kvm_it_is_decides_what_is_said_of_kernels(report):
    kvm = report["kvm"]
    text = " ".join(cpu().split())
    if kvm["runs_kernels"]:
        assert "stock kernels run" in text and "yes: KVM on x86-64" in text
    else:
        assert kvm["obstacle"] in text and "this KVM runs no kernels" in text


@needs_kvm
def test_features_are_listed_by_name(report):
    text = cpu("--features")
    assert {"fpu", "lm", "kvm_clock"} <= set(report["features"]) <= set(text.split())
    assert "kvm_steal_time" not in cpu()


@needs_kvm
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_given_or_what_lacks_is_named(report, level):
    named = next(one for one in report["named"] if one["name"] == level)
    if named["given"]:
        assert f"can give the CPU model '{level}'" in cpu("--check", level)
        return
    said = cpu("--check", level, code=1)
    assert f"cannot give the CPU model '{level}'" in said
    assert all(feature in said for feature in named["lacks"][:10])


def test_without_kvm_the_rest_is_told():
    text = cpu("--device", "/no/such/device")
    assert "KVM           no: " in text and ("/no/such/device" in text or "built without KVM" in text)
    assert "microvm-1     no: it needs KVM" in text
    assert "riscv-virt-1  yes" in text
    assert json.loads(cpu("--device", "/no/such/device", "--json"))["kvm"]["usable"] is False


def test_without_kvm_no_model_can_be_given():
    said = cpu("--check", "host", "--device", "/no/such/device", code=1)
    assert "/no/such/device" in said or "built without KVM" in said


# Files


@needs_kvm
def test_a_host_can_give_what_it_said_it_can(report, tmp_path):
    path = save(tmp_path, "host.json", report)
    assert "can give the CPU model 'host'" in cpu("--check", path)
    assert "can give the CPU model 'host'" in cpu("--check", "host.json", cwd=tmp_path)


@needs_kvm
def test_common_of_one_host_twice_is_that_host(report, tmp_path):
    path = save(tmp_path, "host.json", report)
    model = json.loads(cpu("--common", path, path, "--json"))
    assert model["cpuid"] == report["host_model"]["cpuid"]


@needs_kvm
def test_common_leaves_out_what_one_lacks_and_says_so(report, tmp_path):
    one, other = save(tmp_path, "one.json", report), save(tmp_path, "other.json", poorer(report))
    text = cpu("--common", one, other)
    assert text.count("not used: nx\n") == 1
    assert text.index("one.json") < text.index("not used: nx") < text.index("other.json")
    common = save(tmp_path, "common.json", cpu("--common", one, other, "--json"))
    assert "can give the CPU model 'common'" in cpu("--check", common)
    assert "nx" not in cpu("--check", common, "--features").split()
    assert cpu("--common", other, one, "--json") == common.read_text()


@needs_kvm
def test_a_model_of_a_richer_host_is_refused_by_name(report, tmp_path):
    richer = copy.deepcopy(report)
    leaf_of(richer, 7, 0)[3] |= 1 << 22
    said = cpu("--check", save(tmp_path, "richer.json", richer), code=1)
    assert "it lacks leaf 0x7 ebx bit 22" in said


@needs_kvm
def test_another_maker_has_nothing_in_common(report, tmp_path):
    other = copy.deepcopy(report)
    leaf_of(other, 0)[3:] = [0x746E6543, 0x736C7561, 0x48727561]  # "CentaurHauls"
    paths = save(tmp_path, "one.json", report), save(tmp_path, "other.json", other)
    said = cpu("--common", *paths, code=1)
    assert report["processor"]["vendor"] in said and "CentaurHauls" in said


@pytest.mark.parametrize("content, words", [
    (None, "No such file"),
    ("", "is not JSON"),
    ("{]", "is not JSON"),
    ("[]", "must be a JSON object"),
    ("{}", '"model" is missing'),
    ('{"model": "m", "tsc_khz": 0, "cpuid": [[1, 2, 3]]}', "entry 0"),
    ('{"kvm": {"usable": false, "reason": "x"}}', "without a KVM"),
])
def test_a_file_that_is_none_is_refused_with_its_name(tmp_path, content, words):
    path = tmp_path / "file.json" if content is None else save(tmp_path, "file.json", content)
    said = cpu("--common", path, code=1)
    assert words in said and str(path) in said


@pytest.mark.parametrize("arguments, words", [
    (("--common",), "--common needs files"),
    (("one.json",), "'one.json' belongs to no option"),
    (("--common", "--check", "host"), "two questions"),
    (("--wrong",), "--wrong"),
])
def test_wrong_usage_is_said(arguments, words):
    assert words in cpu(*arguments, code=2)


@needs_kvm
def test_an_unknown_model_gets_those_that_exist():
    assert "there is no CPU model 'haswell'; there are host, x86-64" in cpu("--check", "haswell", code=1)
