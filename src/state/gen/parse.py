# SPDX-License-Identifier: Apache-2.0
"""Reads a C header with libclang: the marked structs, their fields, marks, types and functions."""
import glob
import os
import re
import sys

try:
    from clang import cindex
except ImportError:  # Debian keeps the bindings of other versions here
    for folder in sorted(glob.glob("/usr/lib/llvm-*/lib/python3*/*-packages"), reverse=True):
        sys.path.append(folder)
    from clang import cindex

TYPE_ATOMIC = 177  # CXType_Atomic, which older bindings have no name for
PREFIX = "gw:"


class Mistakes(Exception):
    """What is wrong with a header, one line each."""

    def __init__(self, lines):
        super().__init__("\n".join(lines))
        self.lines = lines


class Field:
    """One field as written: name, place, marks {word: text or True}, libclang type."""

    def __init__(self, cursor, marks, repeated):
        self.name = cursor.spelling
        self.location = cursor.location
        self.marks = marks
        self.repeated = repeated
        self.type = cursor.type
        self.is_bitfield = cursor.is_bitfield()


class Struct:
    def __init__(self, cursor, marks, fields):
        self.tag = cursor.spelling
        self.location = cursor.location
        self.marks = marks
        self.fields = fields
        self.functions = {}


class Header:
    """The structs of the header itself, all marked structs in reach, functions, and how to get values."""

    def __init__(self, path):
        self.path = path
        self.structs = {}
        self.own = []
        self.functions = {}
        self.includes = []
        self.values = {}


def load_libclang():
    """Lets the bindings' own choice stand if it works, else takes the newest installed library."""
    try:
        return cindex.Index.create()
    except cindex.LibclangError:
        pass
    found = glob.glob("/usr/lib/llvm-*/lib/libclang.so*") + glob.glob("/usr/lib/*/libclang-*.so*")
    for path in sorted(found, reverse=True):
        cindex.Config.loaded = False
        cindex.Config.set_library_file(path)
        try:
            return cindex.Index.create()
        except cindex.LibclangError:
            continue
    raise Mistakes(["state-gen: no usable libclang; on Debian install python3-clang"])


def place(location):
    return f"{location.file.name if location.file else '?'}:{location.line}"


def read_marks(cursor):
    """The gw: annotations of a declaration, and the words that it has twice."""
    marks, repeated = {}, []
    for child in cursor.get_children():
        if child.kind != cindex.CursorKind.ANNOTATE_ATTR or not child.spelling.startswith(PREFIX):
            continue
        word, _, text = child.spelling[len(PREFIX):].partition(":")
        if word in marks:
            repeated.append(word)
        marks[word] = text or True
    return marks, repeated


def read_struct(cursor):
    marks, _ = read_marks(cursor)
    fields = []
    for child in cursor.get_children():
        if child.kind == cindex.CursorKind.FIELD_DECL:
            fields.append(Field(child, *read_marks(child)))
        elif child.kind in (cindex.CursorKind.STRUCT_DECL, cindex.CursorKind.UNION_DECL):
            if child.is_anonymous() and not has_field_of(cursor, child):
                field = Field(child, {}, [])
                field.name = "(anonymous)"
                fields.append(field)
    return Struct(cursor, marks, fields)


def has_field_of(struct, declaration):
    return any(child.kind == cindex.CursorKind.FIELD_DECL and declared_by(child.type) == declaration
               for child in struct.get_children())


def declared_by(kind):
    while kind.get_array_size() >= 0:
        kind = kind.element_type
    return kind.get_declaration()


def atomic_value(kind):
    """The T of _Atomic T, or the type itself."""
    if kind._kind_id != TYPE_ATOMIC:  # pylint: disable=protected-access
        return kind
    function = cindex.conf.lib.clang_Type_getValueType
    function.argtypes, function.restype = [cindex.Type], cindex.Type
    value = function(kind)
    value._tu = kind._tu  # pylint: disable=protected-access
    return value


def plain_type(kind):
    """Without typedefs, qualifiers and _Atomic."""
    return atomic_value(atomic_value(kind.get_canonical()).get_canonical()).get_canonical()


def parse(index, path, include, unsaved=None):
    arguments = ["-xc", "-std=gnu17", "-D_GNU_SOURCE", "-DGW_STATE_GENERATOR=1",
                 "-Wno-everything"] + [f"-I{folder}" for folder in include]
    return index.parse(path, args=arguments, unsaved_files=unsaved,
                       options=cindex.TranslationUnit.PARSE_SKIP_FUNCTION_BODIES)


def errors_of(unit):
    return [f"{place(d.location)}: {d.spelling}" for d in unit.diagnostics
            if d.severity >= cindex.Diagnostic.Error]


def parse_header(path, include):
    index = load_libclang()
    unit = parse(index, path, include)
    if errors_of(unit):
        raise Mistakes(errors_of(unit))
    header = Header(path)
    header.includes = sorted({path} | {inc.include.name for inc in unit.get_includes()})
    for cursor in unit.cursor.get_children():
        if cursor.kind == cindex.CursorKind.STRUCT_DECL and cursor.is_definition():
            struct = read_struct(cursor)
            if struct.marks:
                header.structs[struct.tag] = struct
                if cursor.location.file.name == path:
                    header.own.append(struct)
        elif cursor.kind == cindex.CursorKind.FUNCTION_DECL:
            header.functions[cursor.spelling] = cursor
    header.unit = unit
    header.values = evaluate(index, header, include)
    return header


def expressions_of(struct):
    """(field or None, expression) of every value in a struct's marks."""
    found = []
    if "device" in struct.marks:
        found += [(None, text) for text in str(struct.marks["device"]).split(":")[1:]]
    for field in struct.fields:
        found += [(field, field.marks[word]) for word in ("saved", "min", "max", "mask")
                  if word in field.marks]
        if "array" in field.marks:
            found.append((field, field.marks["array"].partition(":")[2]))
    return found


def include_name(header, include):
    """How C code names the header: relative to the deepest include directory that holds it, else as a file of its own
    directory. The tree's path, in which there may be a quote, is no part of it."""
    path = os.path.realpath(header)
    roots = [os.path.realpath(d) + os.sep for d in include]
    roots = [root for root in roots if path.startswith(root)]
    return path[len(max(roots, key=len)):] if roots else os.path.basename(path)


def evaluate(index, header, include):
    """{expression: value} for every value in every mark."""
    wanted = []
    for struct in header.structs.values():
        wanted += [(struct, field, text) for field, text in expressions_of(struct)]
    unknown = [text for _, _, text in wanted]
    unique = sorted({str(text) for text in unknown})
    if not unique:
        return {}
    lines = [f'#include "{include_name(header.path, include)}"']
    lines += [f"enum gw_value_{i} {{ gw_value_{i}_ = ({text}) }};" for i, text in enumerate(unique)]
    include = [*include, os.path.dirname(os.path.realpath(header.path))]
    unit = parse(index, "gw-values.c", include, [("gw-values.c", "\n".join(lines) + "\n")])
    refused = {unique[d.location.line - 2]: d.spelling for d in unit.diagnostics
               if d.severity >= cindex.Diagnostic.Error}
    if refused:
        raise Mistakes([f"{place((field or struct).location)}: struct {struct.tag}: "
                        + (f"field {field.name}: " if field else "")
                        + f"'{text}' is not a constant: {refused[str(text)]}"
                        for struct, field, text in wanted if str(text) in refused])
    values = {}
    for cursor in unit.cursor.get_children():
        match = re.fullmatch(r"gw_value_(\d+)", cursor.spelling)
        if cursor.kind == cindex.CursorKind.ENUM_DECL and match:
            values[unique[int(match.group(1))]] = next(cursor.get_children()).enum_value
    return values
