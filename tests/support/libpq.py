"""Asks libpq itself what connection strings and variables mean.

Reads a JSON list of {"conninfo": text or null, "env": {name: value}} from the file named in the
first argument; prints a JSON list of {"parsed": {keyword: value} or null, "defaults": the same}.
"""

import ctypes
import json
import os
import sys


class Option(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_char_p)
        for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")
    ] + [("dispsize", ctypes.c_int)]


lib = ctypes.CDLL("libpq.so.5")
lib.PQconndefaults.restype = ctypes.POINTER(Option)
lib.PQconninfoParse.restype = ctypes.POINTER(Option)
lib.PQconninfoParse.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)]
lib.PQconninfoFree.argtypes = [ctypes.POINTER(Option)]


def values(options):
    if not options:
        return None
    found = {}
    at = 0
    while options[at].keyword:
        if options[at].val is not None:
            found[options[at].keyword.decode()] = options[at].val.decode("utf-8", "replace")
        at += 1
    lib.PQconninfoFree(options)
    return found


answers = []
for case in json.load(open(sys.argv[1], encoding="utf-8")):
    for name in [name for name in os.environ if name.startswith("PG") or name == "HOME"]:
        del os.environ[name]
    os.environ.update(case["env"])
    parsed = None
    if case["conninfo"] is not None:
        message = ctypes.c_char_p()
        text = case["conninfo"].encode()
        parsed = values(lib.PQconninfoParse(text, ctypes.byref(message)))
    answers.append({"parsed": parsed, "defaults": values(lib.PQconndefaults())})
json.dump({"version": lib.PQlibVersion(), "answers": answers}, sys.stdout)
