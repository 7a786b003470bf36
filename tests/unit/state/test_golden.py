# SPDX-License-Identifier: Apache-2.0
"""What golden.py calls a change that needs a version."""
import copy

from golden import binding, difference, schema_mistakes, unlisted_devices

SCHEMA = {
    "devices": {"uart": {"version": 1, "minimum": 1, "fields": [
        {"name": "a", "type": "u8", "since": 1}, {"name": "b", "type": "u8", "since": 1},
        {"name": "s", "type": "u8", "since": 1, "subsection": "rare"}]}},
    "parts": {"queue": {"version": 1, "fields": [{"name": "x", "type": "u16", "since": 1}]}},
}


def changed(change):
    schema = copy.deepcopy(SCHEMA)
    change(schema["devices"]["uart"], schema)
    return schema_mistakes(SCHEMA, schema)


def test_no_change_is_fine():
    assert changed(lambda uart, schema: None) == []


def test_a_new_field_needs_a_version():
    lines = changed(lambda uart, schema: uart["fields"].append({"name": "c", "type": "u8", "since": 1}))
    assert len(lines) == 1
    assert lines[0].startswith("device uart: its fields changed, but its version is still 1")


def test_a_new_field_with_a_version_is_fine():
    def change(uart, schema):
        uart["version"] = 2
        uart["fields"].append({"name": "c", "type": "u8", "since": 2})
    assert changed(change) == []


def test_two_fields_that_swap_need_a_version():
    assert len(changed(lambda uart, schema: uart["fields"].insert(0, uart["fields"].pop(1)))) == 1


def test_a_new_range_needs_a_version():
    assert len(changed(lambda uart, schema: uart["fields"][0].update(max=7))) == 1


def test_a_version_cannot_go_back():
    assert len(changed(lambda uart, schema: uart.update(version=0))) == 1


def test_a_new_subsection_needs_no_version():
    assert changed(lambda uart, schema: uart["fields"].append(
        {"name": "t", "type": "u8", "since": 1, "subsection": "other"})) == []


def test_a_field_more_in_a_subsection_needs_a_version():
    assert len(changed(lambda uart, schema: uart["fields"].append(
        {"name": "t", "type": "u8", "since": 1, "subsection": "rare"}))) == 1


def test_a_change_of_a_part_needs_its_version():
    lines = changed(lambda uart, schema: schema["parts"]["queue"]["fields"][0].update(type="u32"))
    assert lines[0].startswith("part queue: its fields changed")


def test_a_device_cannot_vanish():
    assert len(changed(lambda uart, schema: schema["devices"].clear())) == 1


def test_the_first_difference_has_a_path():
    assert difference({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}) is None
    assert difference({"a": {"b": [1, 2]}}, {"a": {"b": [1, 4]}}) == "a.b[1]: 4 is not the recorded 2"
    assert difference({"a": 1}, {}) == "a: None is not the recorded 1"


def test_only_versions_with_a_stream_bind():
    schema = copy.deepcopy(SCHEMA)
    schema["devices"]["uart"]["fields"].append({"name": "q", "type": "part queue", "since": 1})
    assert binding(schema, [("uart", 1)]) == schema
    assert binding(schema, []) == {"devices": {}, "parts": {}}


def test_a_marked_device_must_be_listed(tmp_path):
    (tmp_path / "rtc.h").write_text('struct rtc {\n    GW_SAVED(1) int x;\n} GW_DEVICE("rtc", 1, 1);\n')
    assert len(unlisted_devices(tmp_path, SCHEMA)) == 1
    assert "rtc.h: device rtc is not in" in unlisted_devices(tmp_path, SCHEMA)[0]
    (tmp_path / "rtc.h").write_text('/* like GW_DEVICE("x", 1, 1) */\n} GW_DEVICE("uart", 1, 1);\n')
    assert unlisted_devices(tmp_path, SCHEMA) == []
