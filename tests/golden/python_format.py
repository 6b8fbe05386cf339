"""Writes python_format.json: what Python's str.format answers, case by case.

Run with Python 3.11 from this folder: python3 python_format.py
A case is [template, positional, named, answer] or [template, positional, named, null, name of the exception].
"""

import json


class Entries(dict):
    """A dictionary whose entries are attributes too: JSON has no attributes, so ours reads entries."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def wrap(value):
    if isinstance(value, dict):
        return Entries((key, wrap(value[key])) for key in sorted(value))
    if isinstance(value, list):
        return [wrap(item) for item in value]
    return value


cases = []


def case(template, *positional, **named):
    try:
        answer = [template.format(*wrap(list(positional)), **wrap(named))]
    except Exception as error:
        answer = [None, type(error).__name__]
    cases.append([template, list(positional), named, *answer])


# The text around placeholders.
for template in [
    "", "plain", "{{", "}}", "{{}}", "{{{x}}}", "{{x}}", "a{{b}}c{x}d", "{", "}", "x{", "x}", "{x", "{x}}", "{{x}", "{x}{",
    "{x!", "{x!r", "{x!r:", "{x!rr}", "{x!}", "{x!z}", "{x!r:>8}", "{x:", "{x:{", "{x:{}", "{x:}}", "{x{y}}", "{x:{y}",
    "{x!s}", "{x!r}", "{x!a}", "{}", "{0}", "{ x}", "{x }", "{x.}", "{x[}", "{x[]}", "{x[0}", "{.a}", "{[0]}", "{x[0]y}",
    "{x..a}", "{x[0].}", "{99999999999999999999}", "{x[99999999999999999999]}", "{0}{}", "{}{0}", "{!r}", "{:>5}", "{-1}",
    "{00}", "{x:{w}}", "{x:{w}.{p}}", "{x:>{w}}", "{x:{fill}>{w}}", "{x:{{}}}", "{x:{w:{p}}}", "{é}", "é{x}é", "{x:é>8}",
    "{\"a\": 1}", "{x!r}{x!s}", "{x!\u00e9}", "{x[a]b]}", "{x[{]}", "{x[:]}", "{x[!]}", "{w:{x}}", "{x:\n>8}", "{missing:{w}}",
    "{x:{missing}}",
]:
    case(template, x="text", w=10, p=2, fill="*", é="accent")
    case(template, "zero", "one", x="text", w=7, p=3, fill="-")

# Positions and counting.
for template in ["{} {}", "{1} {0}", "{0} {0}", "{2}", "{} {} {}", "{:{}}", "{:{}.{}}", "{0:{1}}", "{:{1}}", "{0:{}}", "{!s:>{}}"]:
    case(template, "a", 5)
    case(template, 3.14159, 8, 2)
    case(template)

# Parts of values.
deep = {"list": [1, [2, 3], {"k": "v"}], "text": "häh", "0": "zero", "empty": {}, "n": None, "a b": "blank", "-1": "minus"}
for path in [
    "list", "list[0]", "list[1]", "list[1][0]", "list[2].k", "list[2][k]", "list[3]", "list[-1]", "list[k]", "list.k", "text",
    "text[1]", "text[9]", "text.k", "text[k]", "0", "[0]", "[00]", "empty", "empty.k", "n", "n.k", "n[0]", "[a b]", ".a b",
    "[-1]", "missing", "[missing]", "list[0][0]", "list[0].k", "[text]", "[text][0]", "['text']",
]:
    dotted = path if path[0] in "[." else "." + path
    case("{d" + dotted + "}", d=deep)
    case("{0" + dotted + "}", deep)
    case("{d" + dotted + "!r:>12}", d=deep)

# How values read.
values = [
    None, True, False, 0, 1, -1, 42, -42, 1234567, 18446744073709551615, -9223372036854775808, 0.0, -0.0, 1.0, -1.5, 0.1,
    1e15, 1e16, 1e17, 123456789012345680.0, 1e-4, 1e-5, 0.00012345, 5e-324, 1.7976931348623157e308, 2.5, 3.5, 0.5, 1.25,
    100.0, 1e22, 1e23, 9999999.5, "", "text", "it's", 'say "x"', "it's \"x\"", "a\\b", "tab\tline\nreturn\r", "\x00\x1f\x7f",
    "\u00e9\u00a0\u200b\u3000", "\U0001f600", "e\u0301", "\u0301", "\ud7ff\ue000", "\u0378", [], [1, "a", None, True, 1.5],
    {}, {"a": 1, "b": [None, {"c": "it's"}]}, [[]], "long " * 5,
]
for value in values:
    for form in ["{}", "{!s}", "{!r}", "{!a}", "{!r:<10}|", "{:10}|", "{:<10}|"]:
        case(form, value)

# Format specifications.
text_specs = [
    "s", "10", "<10", ">10", "^10", "^9", "=10", "*^10", ".2", ".0", "10.2", "<10.2s", "d", "f", "+", "#", " ", "-", ",", "_",
    "0", "010", "<010", "05s", "é^7", "{<8", "}>8", "😀^6", ".", "..", ".2.", "10x10", "z", "zs", "n", "10.", "^", "<", "<<", "<<5",
    "==5", " 10", "  >10", "\t>6", "1,s", "_s", "1_0",
]
for value in ["", "text", "häß😀"]:
    for spec in text_specs:
        case("{:" + spec + "}", value)

integer_specs = [
    "d", "b", "o", "x", "X", "c", "n", "s", "e", "E", "f", "F", "g", "G", "%", "10", "<10", ">10", "^10", "=10", "010", "+", "-",
    " ", "+d", " d", "+010", "=+10", "*=+10d", "#x", "#X", "#o", "#b", "#010x", "#d", "#10x", "<#10x", "^#10b", ",", "_", ",d", "_d",
    "_b", "_x", ",x", ",b", "010,", "012,", "013_", "020,d", "*=15,", "*>15,", ".2", ".2d", ".2f", ",.2f", "012,.2f", ".0f", "#.0f",
    ".3e", ".3g", ".0%", ".1%", "+.1%", "_.2f", ",n", "_n", "_c", "#c", "+c", "5c", "^5c", "_#x", "#_x", "#020_b", "z", "zd", "z.1f",
    "r", "q", "i", "dd", "10d10", "0", "00", "000", "<0", "<05", "1.", ",_", "_,", ",,", "__", " ,", "^+9", "= 9", "-5", "é>7", "0>7",
    "0=7", "0^7", "x<7", "#,", "#g", ".10g", "e<8.2e", "012_x", "012_b", "08_d", "09,", "010_",
]
for value in [0, 7, -7, 255, 65, 1000, -1234567, 18446744073709551615, True, False]:
    for spec in integer_specs:
        case("{:" + spec + "}", value)

float_specs = [
    "e", "E", "f", "F", "g", "G", "n", "%", "d", "s", "x", "c", "10", "<10", "^10", "=10", "010", "+", "-", " ", "+010", ".0", ".1",
    ".2", ".3", ".5", ".10", ".17", ".20", ".0f", ".1f", ".2f", ".3f", ".10f", ".20f", ".0e", ".1e", ".2e", ".10e", ".20e", ".0g",
    ".1g", ".2g", ".3g", ".10g", ".20g", "#", "#g", "#.0f", "#.0e", "#.0g", "#.3g", "#.10g", "#.2", "#.0", ".0%", ".1%", ".2%", ",",
    "_", ",.2f", "_.2f", "015,.2f", "020,", "+,.1f", ",g", ",e", ",%", ",n", "z", "z.0f", "z.1f", "+z.1f", ".", "15.3f", "<15.3f",
    "*^15.3f", "*=+15.3f", "0=15.3f", ".3n", "G", ".2G", "E<12.1E", "012,.1f", "013,.1f", ".2F", ".400f", ".400e", ".400g", "#.400g",
    "r", ".2.2", "#e",
]
for value in [
    0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, 0.05, 0.25, 0.125, 1.005, 2.675, 3.14159, -2.71828, 99.95, 999999.5, 1234567.891, 1e15, 1e16,
    1.5e16, 1e21, 1e22, 1e100, 1.7976931348623157e308, 0.001, 0.0001, 0.00001234, 5e-324, -1e-10, 100.0, 1e5, 123456.0,
]:
    for spec in float_specs:
        case("{:" + spec + "}", value)

for value in [None, [1], {"a": 1}]:
    for spec in ["", "5", "s", "d", ">10"]:
        case("{:" + spec + "}", value)
        case("{!s:" + spec + "}", value)

with open("python_format.json", "w", encoding="ascii", newline="\n") as file:
    file.write("[\n" + ",\n".join(json.dumps(case, sort_keys=True) for case in cases) + "\n]\n")
print(len(cases), "cases")
