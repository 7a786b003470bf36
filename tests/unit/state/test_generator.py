# SPDX-License-Identifier: Apache-2.0
"""What the state generator refuses, and in which words; and that it rebuilds when it should."""
import importlib.util
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
GENERATOR = os.path.join(ROOT, "src/state/gen/state-gen.py")

specification = importlib.util.spec_from_file_location("state_gen", GENERATOR)
state_gen = importlib.util.module_from_spec(specification)
specification.loader.exec_module(state_gen)

HEAD = "#include <godwit/state.h>\n"  # so the text of a case begins on line 2


def generate(folder, text, monkeypatch):
    header, output = folder / "device.h", folder / "device.c"
    header.write_text(HEAD + text)
    monkeypatch.setattr(sys, "argv", [GENERATOR, "-I", ROOT + "/include", "-I", str(folder), "--depfile",
                                      str(folder / "device.d"), str(header), str(output)])
    return state_gen.main(), output


def device(fields, version=2, after="", before=""):
    return f"{before}struct dev {{ {fields} }} GW_DEVICE(\"dev\", {version}, 1);\n{after}"


REFUSED = {
    "unmarked field": (device("uint32_t a;"), "field a: has no mark: say GW_SAVED, GW_HOST or GW_DERIVED"),
    "unmarked pointer": (device("void *a;"), "field a: has no mark"),
    "unmarked field of a part": (
        device("GW_SAVED(1) struct p p;", before="struct p { int x; } GW_PART; "), "struct p: field x: has no mark"),
    "unmarked anonymous struct": (device("struct { int x; };"), "field (anonymous): has no mark"),
    "two main marks": (device("GW_SAVED(1) GW_HOST int a;"), "field a: has more than one of"),
    "a mark twice": (device("GW_SAVED(1) GW_MAX(3) GW_MAX(4) int a;"), "field a: has GW_MAX twice"),
    "saved twice": (device("GW_SAVED(1) GW_SAVED(2) int a;"), "field a: has GW_SAVED twice"),
    "a range on a host field": (device("GW_HOST GW_MAX(3) int a;"), "field a: GW_MAX belongs to a GW_SAVED field"),
    "a struct's mark on a field": (device("GW_SAVED(1) GW_PART int a;"), "field a: GW_PART is a mark for structs"),
    "a pointer": (device("GW_SAVED(1) int *a;"), "field a: a pointer can only be saved with GW_ARRAY"),
    "a function pointer": (device("GW_SAVED(1) void (*a)(void);"), "field a: a pointer can only be saved"),
    "a bit-field": (device("GW_SAVED(1) unsigned a : 3;"), "field a: a bit-field cannot be saved"),
    "a union": (device("GW_SAVED(1) union { int x; } a;"), "field a: a union cannot be saved"),
    "a double": (device("GW_SAVED(1) double a;"), "field a: a value of type 'double' cannot be saved"),
    "128 bits": (device("GW_SAVED(1) __int128 a;"), "field a: a value of type '__int128' cannot be saved"),
    "two dimensions": (device("GW_SAVED(1) int a[2][3];"), "field a: only arrays of one dimension"),
    "a flexible array": (device("GW_HOST int n; GW_SAVED(1) int a[];"), "field a: only arrays of one dimension with a length"),
    "an unmarked struct": (device("GW_SAVED(1) struct q a;", before="struct q { int x; }; "),
                           "field a: struct q is not marked GW_PART"),
    "an anonymous struct": (device("GW_SAVED(1) struct { int x; } a;"), "is not marked GW_PART"),
    "a device in a device": (
        device("GW_SAVED(1) struct q a;",
               before='struct q { GW_SAVED(1) int x; } GW_DEVICE("q", 1, 1); '), "field a: struct q is not marked GW_PART"),
    "newer than the device": (device("GW_SAVED(3) int a;"), "field a: GW_SAVED(3) is newer than the device's version 2"),
    "version 0 of a field": (device("GW_SAVED(0) int a;"), "field a: GW_SAVED counts versions from 1"),
    "minimum above maximum": (device("GW_SAVED(1) GW_MIN(5) GW_MAX(4) int a;"),
                              "field a: its minimum 5 is above its maximum 4"),
    "a maximum too wide": (device("GW_SAVED(1) GW_MAX(256) uint8_t a;"), "field a: GW_MAX(256) does not fit its type"),
    "a negative minimum": (device("GW_SAVED(1) GW_MIN(-1) uint8_t a;"), "field a: GW_MIN(-1) does not fit its type"),
    "mask and range": (device("GW_SAVED(1) GW_MASK(3) GW_MAX(3) uint8_t a;"), "field a: GW_MASK is for unsigned"),
    "a signed mask": (device("GW_SAVED(1) GW_MASK(3) int a;"), "field a: GW_MASK is for unsigned integers"),
    "a range of a bool": (device("GW_SAVED(1) GW_MAX(1) bool a;"), "field a: GW_MAX is for integers and enums"),
    "a value that is no constant": (device("GW_SAVED(1) GW_MAX(LIMIT) int a;"), "field a: 'LIMIT' is not a constant"),
    "an unknown count": (device("GW_SAVED(1) GW_COUNT(n) int a[3];"), "field a: its count n is not a saved field"),
    "a later count": (device("GW_SAVED(1) GW_COUNT(n) int a[3]; GW_SAVED(1) unsigned n;"),
                      "field a: its count n is not a saved field that stands before it"),
    "a host count": (device("GW_HOST unsigned n; GW_SAVED(1) GW_COUNT(n) int a[3];"),
                     "field a: its count n is not a saved field"),
    "a signed count": (device("GW_SAVED(1) int n; GW_SAVED(1) GW_COUNT(n) int a[3];"),
                       "field a: its count n is not one unsigned integer"),
    "a newer count": (device("GW_SAVED(2) unsigned n; GW_SAVED(1) GW_COUNT(n) int a[3];"),
                      "field a: its count n is saved since version 2, the array since 1"),
    "a count of a scalar": (device("GW_SAVED(1) unsigned n; GW_SAVED(1) GW_COUNT(n) int a;"),
                            "field a: GW_COUNT is for arrays"),
    "a count with a mask": (device("GW_SAVED(1) GW_MASK(3) unsigned n; GW_SAVED(1) GW_COUNT(n) int a[3];"),
                            "field a: its count n has a GW_MASK"),
    "an array mark without pointer": (device("GW_SAVED(1) unsigned n; GW_SAVED(1) GW_ARRAY(n, 3) int a[3];"),
                                      "field a: GW_ARRAY is for pointers"),
    "an array too large": (device("GW_SAVED(1) unsigned n; GW_SAVED(1) GW_ARRAY(n, 1 << 28) int *a;"),
                           "field a: has 268435456 elements"),
    "an array in an array": (
        device("GW_SAVED(1) struct p p[2];",
               before="struct p { GW_SAVED(1) unsigned n; GW_SAVED(1) GW_ARRAY(n, 3) int *a; } GW_PART; "),
        "field p: struct p has a GW_ARRAY, so it cannot be an array's element"),
    "an array whose count is outside its subsection": (
        device('GW_SAVED(1) unsigned n; GW_SAVED(1) GW_SUBSECTION("s") GW_ARRAY(n, 3) int *a;',
               after="bool dev_s_needed(const struct dev *);"), "field a: its count n is in another subsection"),
    "a part with an array in a subsection": (
        device('GW_SAVED(1) GW_SUBSECTION("s") struct p p;',
               before="struct p { GW_SAVED(1) unsigned n; GW_SAVED(1) GW_ARRAY(n, 3) int *a; } GW_PART; ",
               after="bool dev_s_needed(const struct dev *);"),
        "field p: a part with a GW_ARRAY cannot stand in a subsection"),
    "a struct that contains itself": (
        device("GW_SAVED(1) struct p p;",
               before="struct p { GW_SAVED(1) unsigned n; GW_SAVED(1) GW_ARRAY(n, 3) struct p *a; } GW_PART; "),
        "field a: struct p contains itself"),
    "a derived function that is missing": (
        device("GW_DERIVED(dev_loaded) int a;"),
        "field a: the function dev_loaded is not declared: add int dev_loaded(struct dev *, struct gw_error *);"),
    "a derived function of another form": (
        device("GW_DERIVED(dev_loaded) int a;", after="void dev_loaded(struct dev *dev);"),
        "field a: dev_loaded is declared in another form than int dev_loaded("),
    "a saving function that is missing": (device("GW_SAVED(1) GW_SAVING(dev_saving) int a;"),
                                          "field a: the function dev_saving is not declared"),
    "a subsection without needed": (device('GW_SAVED(1) GW_SUBSECTION("line-break") int a;'),
                                    "field a: the function dev_line_break_needed is not declared"),
    "a subsection of a part": (
        device("GW_SAVED(1) struct p p;", before='struct p { GW_SAVED(1) GW_SUBSECTION("s") int a; } GW_PART; '),
        "struct p: field a: GW_SUBSECTION is for fields of a GW_DEVICE"),
    "a subsection with a bad name": (device('GW_SAVED(1) GW_SUBSECTION("S s") int a;'),
                                     "field a: a subsection's name is 1 to 63 characters"),
    "a device with a bad name": ('struct dev { GW_SAVED(1) int a; } GW_DEVICE("My dev", 1, 1);',
                                 "struct dev: a device's name is 1 to 63 characters"),
    "a minimum above the version": ('struct dev { GW_SAVED(1) int a; } GW_DEVICE("dev", 1, 2);',
                                    "struct dev: version 1 and minimum 2"),
    "one name for two devices": (device("GW_SAVED(1) int a;") + 'struct d2 { GW_SAVED(1) int a; } GW_DEVICE("dev", 1, 1);',
                                 "struct d2: another device of this header is named dev"),
    "no device": ("struct dev { int a; };", "no struct is marked GW_DEVICE"),
    "a header that does not compile": ("struct dev { unknown a; };", "unknown type name 'unknown'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case, tmp_path, monkeypatch, capsys):
    text, sentence = REFUSED[case]
    status, output = generate(tmp_path, text, monkeypatch)
    said = capsys.readouterr().err
    assert status == 1
    assert sentence in said
    assert str(tmp_path / "device.h") + ":" in said
    assert not output.exists()


def test_names_file_and_line(tmp_path, monkeypatch, capsys):
    text = 'struct dev {\n    GW_SAVED(1) int a;\n    int forgotten;\n} GW_DEVICE("dev", 1, 1);\n'
    generate(tmp_path, text, monkeypatch)
    assert capsys.readouterr().err == (f"{tmp_path}/device.h:4: struct dev: field forgotten: has no mark: "
                                       "say GW_SAVED, GW_HOST or GW_DERIVED\n")


def test_tells_all_mistakes_at_once(tmp_path, monkeypatch, capsys):
    generate(tmp_path, device("int a; GW_SAVED(1) double b; GW_SAVED(7) int c;"), monkeypatch)
    said = capsys.readouterr().err
    assert all(f"field {name}:" in said for name in "abc")


def test_a_good_header_becomes_a_table(tmp_path, monkeypatch, capsys):
    status, output = generate(tmp_path, device("GW_SAVED(1) GW_MAX(2 + 3) uint8_t a; GW_HOST void *b;"), monkeypatch)
    assert status == 0, capsys.readouterr().err
    text = output.read_text()
    assert "const struct gw_state_type dev_state_type" in text
    assert ".maximum = 5," in text
    assert '"b"' not in text


def test_values_may_be_macros_and_enumerators(tmp_path, monkeypatch, capsys):
    text = "#define TOP 7\nenum { LOW = 3 };\n" + device("GW_SAVED(1) GW_MIN(LOW) GW_MAX(TOP) uint8_t a;")
    status, output = generate(tmp_path, text, monkeypatch)
    assert status == 0, capsys.readouterr().err
    assert ".minimum = 3,\n     .maximum = 7," in output.read_text()


def test_only_devices_of_the_header_itself_are_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "other.h").write_text(HEAD + 'struct other { GW_SAVED(1) int x; } GW_DEVICE("other", 1, 1);\n')
    status, output = generate(tmp_path, '#include "other.h"\n' + device("GW_SAVED(1) int a;"), monkeypatch)
    assert status == 0, capsys.readouterr().err
    assert "other_state_type" not in output.read_text()


def test_depends_on_every_header_and_on_itself(tmp_path, monkeypatch):
    (tmp_path / "other.h").write_text("\n")
    generate(tmp_path, '#include "other.h"\n' + device("GW_SAVED(1) int a;"), monkeypatch)
    depends = (tmp_path / "device.d").read_text()
    assert depends.startswith(str(tmp_path / "device.c") + ": ")
    for name in ("other.h", "device.h", "godwit/state.h", "state-gen.py", "model.py", "emit.py", "parse.py"):
        assert name in depends


def test_runs_as_a_program(tmp_path):
    header = tmp_path / "device.h"
    header.write_text(HEAD + device("int a;"))
    result = subprocess.run([GENERATOR, "-I", ROOT + "/include", str(header), str(tmp_path / "out.c")],
                            capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 1
    assert "field a: has no mark" in result.stderr
