"""Write requirements.lock: versions and hashes of all packages of the base install and of `EXTRAS`.

Install them with `pip install --require-hashes -r requirements.lock`, then motionrt with `pip install --no-deps .`.
Versions keep to constraints.txt; the hashes are those of the files for this platform and version of Python.
"""

from __future__ import annotations

import json
import subprocess
import sys

from lowest import EXTRAS, ROOT, requirements

LOCK = ROOT / "requirements.lock"


def main() -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-")
    done = subprocess.run([*pip, "-c", ROOT / "constraints.txt", *requirements()], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    lines = [f"# {', '.join(('base', *EXTRAS))}; made by .ci/lock.py"]
    for item in sorted(json.loads(done.stdout)["install"], key=lambda item: item["metadata"]["name"].lower()):
        name, version = item["metadata"]["name"].lower(), item["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}")
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
