"""Look every dependency up in the database of known vulnerabilities: `python packaging/audit.py`.

Exit code 1 if one of them is vulnerable. Where the database cannot be reached nothing is known, and
that is said; it is no failure, so that a build does not depend on somebody else's server.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LIMIT = 180


def main() -> int:
    """Run pip-audit on this environment and judge what it says."""
    try:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("uv")), "tool", "run", "--quiet"),
                *("--from", "pip-audit>=2.9,<3", "pip-audit", "--format=json"),
                *("--progress-spinner=off", "--path", _site_packages()),
            ],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        packages = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as exc:
        print(f"NOT AUDITED: pip-audit gave no answer ({type(exc).__name__})")
        return 0
    return judge(packages)


def judge(packages: list[dict[str, object]]) -> int:
    """Print what is vulnerable and what could not be looked up; return the exit code.

    `packages`: `[{"name": str, "version": str, "vulns": [{"id": str, "fix_versions": [str]}]}]`,
    or with `skip_reason` instead of `vulns`.
    """
    skipped = [str(package["name"]) for package in packages if "skip_reason" in package]
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for found in package["vulns"]:  # type: ignore[attr-defined]
            fixed = ", ".join(found["fix_versions"]) or "nothing yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    if skipped:
        print(f"NOT AUDITED: {len(skipped)} of {len(packages)} could not be looked up")
    print(f"{len(packages) - len(skipped)} looked up, {len(vulnerable)} vulnerable")
    return 1 if vulnerable else 0


def _site_packages() -> str:
    import sysconfig

    return sysconfig.get_path("purelib")


if __name__ == "__main__":
    sys.exit(main())
