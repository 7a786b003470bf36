# SPDX-License-Identifier: Apache-2.0
"""What the marks of a header mean, and whether they may: layouts and devices ready to be written."""
import re

from clang import cindex

from parse import Mistakes, place, plain_type

K = cindex.TypeKind
UNSIGNED = {K.UCHAR: 1, K.CHAR_U: 1, K.CHAR_S: 1, K.USHORT: 2, K.UINT: 4, K.ULONG: 8, K.ULONGLONG: 8}
SIGNED = {K.SCHAR: 1, K.SHORT: 2, K.INT: 4, K.LONG: 8, K.LONGLONG: 8}
MAX_COUNTS, MAX_SUBSECTIONS, MAX_ELEMENTS = 8, 16, 1 << 26
NAME = re.compile(r"[a-z0-9._-]{1,63}")
FIELD_WORDS = {"saved", "host", "derived", "min", "max", "mask", "count", "array", "subsection", "saving"}
DETAILS = ("min", "max", "mask", "count", "array", "subsection", "saving")


class SavedField:
    """One line of a table."""

    def __init__(self, name):
        self.name = name
        self.kind = None  # "UNSIGNED", "SIGNED", "BOOL", "PART"
        self.shape = "ONE"
        self.part = None  # a Layout
        self.bytes = 0
        self.elements = 1
        self.minimum = self.maximum = 0
        self.mask = (1 << 64) - 1
        self.since = 1
        self.count_slot = self.fills_slot = 0
        self.subsection = None


class Layout:
    def __init__(self, tag):
        self.tag = tag
        self.fields = []
        self.subsections = []
        self.saving = []
        self.loaded = []
        self.has_pointer = False

    @property
    def version(self):
        return max((field.since for field in self.fields), default=1)

    def parts(self):
        """The layouts that this one needs, innermost first, each once."""
        found = []
        for field in self.fields:
            if field.part:
                found += [part for part in field.part.parts() + [field.part] if part not in found]
        return found


class Device:
    def __init__(self, name, version, minimum, layout):
        self.name, self.version, self.minimum, self.layout = name, version, minimum, layout


class Builder:
    """Collects mistakes while it goes on, so that one run tells all of them."""

    def __init__(self, header):
        self.header = header
        self.layouts = {}
        self.open = []
        self.lines = []

    def mistake(self, struct, field, sentence):
        where = f"{place((field or struct).location)}: struct {struct.tag}: "
        self.lines.append(where + (f"field {field.name}: " if field else "") + sentence)

    def value(self, text):
        return self.header.values[str(text)]

    # ---- Structs ----

    def layout(self, struct):
        if struct.tag not in self.layouts:
            made = Layout(struct.tag)
            self.layouts[struct.tag] = made
            self.open.append(struct.tag)
            for field in struct.fields:
                if self.check_words(struct, field):
                    self.note_functions(struct, field, made)
                    if "saved" in field.marks:
                        self.add(struct, field, made)
            self.open.pop()
        return self.layouts[struct.tag]

    def check_words(self, struct, field):
        """Exactly one of SAVED, HOST, DERIVED, and details only with SAVED."""
        before = len(self.lines)
        main = [word for word in ("saved", "host", "derived") if word in field.marks]
        if not main:
            self.mistake(struct, field, "has no mark: say GW_SAVED, GW_HOST or GW_DERIVED")
        elif len(main) > 1:
            self.mistake(struct, field, "has more than one of GW_SAVED, GW_HOST and GW_DERIVED")
        elif main != ["saved"]:
            for word in DETAILS:
                if word in field.marks:
                    self.mistake(struct, field, f"GW_{word.upper()} belongs to a GW_SAVED field")
        for word in field.repeated:
            self.mistake(struct, field, f"has GW_{word.upper()} twice")
        for word in sorted(set(field.marks) - FIELD_WORDS):
            self.mistake(struct, field, f"GW_{word.upper()} is a mark for structs")
        return len(self.lines) == before

    # ---- Functions ----

    def note_functions(self, struct, field, made):
        if "derived" in field.marks:
            self.need_function(struct, field, field.marks["derived"], "int",
                               [f"struct {struct.tag} *", "struct gw_error *"], made.loaded)
        if "saving" in field.marks:
            self.need_function(struct, field, field.marks["saving"], "void",
                               [f"struct {struct.tag} *"], made.saving)

    def need_function(self, struct, field, name, result, parameters, names):
        """Notes a function of the device, which the header must declare in exactly this form."""
        declared = self.header.functions.get(name)
        wanted = f"{result} {name}(" + ", ".join(parameters) + ");"
        if declared is None:
            self.mistake(struct, field, f"the function {name} is not declared: add {wanted}")
        else:
            found = [argument.type.get_canonical().spelling for argument in declared.get_arguments()]
            kind = declared.result_type.get_canonical().spelling.replace("_Bool", "bool")
            if kind != result or found != parameters:
                self.mistake(struct, field, f"{name} is declared in another form than {wanted}")
        if name not in names:
            names.append(name)

    # ---- Fields ----

    def add(self, struct, field, made):
        saved = SavedField(field.name)
        saved.since = self.value(field.marks["saved"])
        before = len(self.lines)
        if saved.since < 1:
            self.mistake(struct, field, "GW_SAVED counts versions from 1")
        element = self.shape(struct, field, saved)
        if element is not None:
            self.kind(struct, field, saved, element)
        if len(self.lines) == before:
            self.limits(struct, field, saved, element)
            self.subsection(struct, field, saved, made)
            self.count(struct, field, saved, made)
        if len(self.lines) == before:
            made.fields.append(saved)

    def shape(self, struct, field, saved):
        """Sets shape and elements; returns the type of one element, or None after a mistake."""
        kind = plain_type(field.type)
        if field.is_bitfield:
            return self.mistake(struct, field, "a bit-field cannot be saved: use a whole integer and GW_MASK")
        if "array" in field.marks:
            if kind.kind != K.POINTER:
                return self.mistake(struct, field, "GW_ARRAY is for pointers; arrays have GW_COUNT")
            saved.shape = "POINTER"
            saved.elements = self.value(field.marks["array"].partition(":")[2])
            kind = plain_type(kind.get_pointee())
        elif kind.kind == K.CONSTANTARRAY:
            saved.shape = "ARRAY"
            saved.elements = kind.get_array_size()
            kind = plain_type(kind.element_type)
        elif kind.kind == K.POINTER:
            return self.mistake(struct, field, "a pointer can only be saved with GW_ARRAY; else it is GW_HOST")
        if saved.elements < 1 or saved.elements > MAX_ELEMENTS:
            return self.mistake(struct, field, f"has {saved.elements} elements; 1 to {MAX_ELEMENTS} are possible")
        if kind.kind in (K.CONSTANTARRAY, K.INCOMPLETEARRAY):
            return self.mistake(struct, field, "only arrays of one dimension with a length can be saved")
        return kind

    def kind(self, struct, field, saved, element):
        if element.kind in UNSIGNED:
            self.integer(saved, "UNSIGNED", UNSIGNED[element.kind])
        elif element.kind in SIGNED:
            self.integer(saved, "SIGNED", SIGNED[element.kind])
        elif element.kind == K.BOOL:
            self.integer(saved, "BOOL", 1)
            saved.maximum = 1
        elif element.kind == K.ENUM:
            self.enum(struct, field, saved, element)
        elif element.kind == K.RECORD:
            self.nested(struct, field, saved, element)
        else:
            self.mistake(struct, field, f"a value of type '{element.spelling}' cannot be saved")

    @staticmethod
    def integer(saved, kind, size):
        saved.kind, saved.bytes, bits = kind, size, 8 * size
        saved.minimum = -(1 << (bits - 1)) if kind == "SIGNED" else 0
        saved.maximum = (1 << (bits - 1)) - 1 if kind == "SIGNED" else (1 << bits) - 1

    def enum(self, struct, field, saved, element):
        declaration = element.get_declaration()
        values = [c.enum_value for c in declaration.get_children()
                  if c.kind == cindex.CursorKind.ENUM_CONSTANT_DECL]
        underlying = declaration.enum_type.get_canonical().kind
        if not values:
            self.mistake(struct, field, "its enum has no enumerators here")
        elif underlying in SIGNED:
            self.integer(saved, "SIGNED", SIGNED[underlying])
        else:
            self.integer(saved, "UNSIGNED", UNSIGNED[underlying])
        if values:
            saved.minimum, saved.maximum = min(values), max(values)

    def nested(self, struct, field, saved, element):
        declaration = element.get_declaration()
        tag = declaration.spelling
        if declaration.kind != cindex.CursorKind.STRUCT_DECL:
            return self.mistake(struct, field, "a union cannot be saved: save what it holds in fields of their own")
        inner = self.header.structs.get(tag)
        if inner is None or "part" not in inner.marks:
            return self.mistake(struct, field, f"struct {tag or '(anonymous)'} is not marked GW_PART")
        if tag in self.open:
            return self.mistake(struct, field, f"struct {tag} contains itself")
        saved.kind, saved.part = "PART", self.layout(inner)
        if saved.part.has_pointer and saved.shape != "ONE":
            return self.mistake(struct, field, f"struct {tag} has a GW_ARRAY, so it cannot be an array's element")
        return None

    def limits(self, struct, field, saved, element):
        given = [word for word in ("min", "max", "mask") if word in field.marks]
        if given and saved.kind in ("PART", "BOOL"):
            return self.mistake(struct, field, f"GW_{given[0].upper()} is for integers and enums")
        if "mask" in given and (len(given) > 1 or saved.kind == "SIGNED" or element.kind == K.ENUM):
            return self.mistake(struct, field, "GW_MASK is for unsigned integers, without GW_MIN and GW_MAX")
        low, high = saved.minimum, saved.maximum
        if element.kind == K.ENUM:
            size = 8 * saved.bytes
            low, high = (-(1 << size - 1), (1 << size - 1) - 1) if saved.kind == "SIGNED" else (0, (1 << size) - 1)
        for word, name in (("min", "minimum"), ("max", "maximum"), ("mask", "mask")):
            if word not in given:
                continue
            value = self.value(field.marks[word])
            if not low <= value <= high:
                return self.mistake(struct, field, f"GW_{word.upper()}({value}) does not fit its type")
            setattr(saved, name, value)
        if saved.minimum > saved.maximum:
            return self.mistake(struct, field, f"its minimum {saved.minimum} is above its maximum {saved.maximum}")
        return None

    def subsection(self, struct, field, saved, made):
        name = field.marks.get("subsection")
        if name is None:
            return
        if "device" not in struct.marks:
            self.mistake(struct, field, "GW_SUBSECTION is for fields of a GW_DEVICE")
        elif not NAME.fullmatch(str(name)):
            self.mistake(struct, field, "a subsection's name is 1 to 63 characters of a-z 0-9 . _ -")
        elif saved.part and saved.part.has_pointer:
            self.mistake(struct, field, "a part with a GW_ARRAY cannot stand in a subsection")
        else:
            function = f"{struct.tag}_{re.sub('[.-]', '_', name)}_needed"
            self.need_function(struct, field, function, "bool", [f"const struct {struct.tag} *"], [])
            saved.subsection = (name, function)
            if saved.subsection not in made.subsections:
                made.subsections.append(saved.subsection)
            if len(made.subsections) > MAX_SUBSECTIONS:
                self.mistake(struct, field, f"a device has at most {MAX_SUBSECTIONS} subsections")

    def count(self, struct, field, saved, made):
        made.has_pointer |= saved.shape == "POINTER" or bool(saved.part and saved.part.has_pointer)
        name = field.marks.get("count")
        if saved.shape == "POINTER":
            name = field.marks["array"].partition(":")[0]
        if name is None:
            return None
        if "count" in field.marks and saved.shape != "ARRAY":
            return self.mistake(struct, field, "GW_COUNT is for arrays; pointers have GW_ARRAY")
        count = next((earlier for earlier in made.fields if earlier.name == name), None)
        if count is None:
            return self.mistake(struct, field, f"its count {name} is not a saved field that stands before it")
        if count.kind != "UNSIGNED" or count.shape != "ONE":
            return self.mistake(struct, field, f"its count {name} is not one unsigned integer")
        if count.mask != (1 << 64) - 1:
            return self.mistake(struct, field, f"its count {name} has a GW_MASK; counts have a range")
        if count.since > saved.since or (saved.shape == "POINTER" and count.since != saved.since):
            return self.mistake(struct, field, f"its count {name} is saved since version {count.since}, "
                                f"the array since {saved.since}")
        if count.subsection != saved.subsection and (count.subsection or saved.shape == "POINTER"):
            return self.mistake(struct, field, f"its count {name} is in another subsection")
        if count.minimum > saved.elements:
            return self.mistake(struct, field, f"its count {name} is at least {count.minimum}, the array is shorter")
        count.maximum = min(count.maximum, saved.elements)
        if not count.fills_slot:
            count.fills_slot = 1 + max((f.fills_slot for f in made.fields), default=0)
        if count.fills_slot > MAX_COUNTS:
            return self.mistake(struct, field, f"a struct has at most {MAX_COUNTS} count fields")
        saved.count_slot = count.fills_slot
        return None

    # ---- Devices ----

    def device(self, struct):
        name, version, minimum = str(struct.marks["device"]).split(":", 2)
        version, minimum = self.value(version), self.value(minimum)
        if not NAME.fullmatch(name):
            self.mistake(struct, None, "a device's name is 1 to 63 characters of a-z 0-9 . _ -")
        if not 1 <= minimum <= version < 1 << 32:
            self.mistake(struct, None, f"version {version} and minimum {minimum}: need 1 <= minimum <= version")
        made = self.layout(struct)
        for field in struct.fields:
            if "saved" in field.marks and self.value(field.marks["saved"]) > version:
                self.mistake(struct, field, f"GW_SAVED({self.value(field.marks['saved'])}) is newer than "
                             f"the device's version {version}")
        return Device(name, version, minimum, made)


def build(header):
    """The devices of the header, checked; raises Mistakes."""
    builder = Builder(header)
    devices = []
    for struct in header.own:
        if "device" in struct.marks and "part" in struct.marks:
            builder.mistake(struct, None, "is marked GW_DEVICE and GW_PART")
        elif "device" in struct.marks:
            devices.append((struct, builder.device(struct)))
        else:
            builder.layout(struct)
    for index, (struct, device) in enumerate(devices):
        if device.name in [other.name for _, other in devices[:index]]:
            builder.mistake(struct, None, f"another device of this header is named {device.name}")
    if not devices and not builder.lines:
        builder.lines.append(f"{header.path}:1: no struct is marked GW_DEVICE")
    if builder.lines:
        raise Mistakes(builder.lines)
    return [device for _, device in devices]
