"""Reads environment files with systemd's own library, for comparison.

One file per line on standard input, in hexadecimal; one answer per line on standard output: `refused`,
or `NAME=VALUE` pairs in hexadecimal. The first line is the version of the library. Exit status 77 says
that the library is not here.
"""

import ctypes
import glob
import re
import sys
import tempfile

found = sorted(
    path
    for pattern in ("/usr/lib/*/systemd/", "/usr/lib64/systemd/", "/usr/lib/systemd/")
    for path in glob.glob(pattern + "libsystemd-shared-*.so")
)
if not found:
    sys.exit(77)
try:
    library = ctypes.CDLL(found[-1])
    load_env_file = library.load_env_file
    clean = library.strv_env_clean_with_callback
except (OSError, AttributeError):
    sys.exit(77)

strings = ctypes.POINTER(ctypes.c_char_p)
load_env_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(strings)]
clean.argtypes = [ctypes.c_void_p] * 3
clean.restype = strings


def read(path):
    """The variables that a service would get, as exec_context_load_environment makes them."""
    loaded = strings()
    if load_env_file(None, path.encode(), ctypes.byref(loaded)) < 0:
        return "refused"
    if not loaded:
        return ""
    cleaned = clean(ctypes.cast(loaded, ctypes.c_void_p), None, None)
    pairs = []
    at = 0
    while cleaned and cleaned[at] is not None:
        name, value = cleaned[at].split(b"=", 1)
        pairs.append(name.hex() + "=" + value.hex())
        at += 1
    return " ".join(pairs)


print(re.search(r"shared-(\d+)", found[-1]).group(1), flush=True)
with tempfile.NamedTemporaryFile() as file:
    for line in sys.stdin:
        file.seek(0)
        file.truncate()
        file.write(bytes.fromhex(line.strip()))
        file.flush()
        print(read(file.name), flush=True)
