"""Before dnf begins, openwatch is asked whether it may be upgraded now.

A "no" of the package itself would let dnf upgrade the other packages without it. Only exit status 5
refuses. Off: guard = false in upgrade.conf(5), OPENWATCH_GUARD=0 or --disableplugin=openwatch_guard
for one run.
"""

import subprocess

import dnf
import dnf.exceptions

PROGRAM = "/usr/bin/openwatch"
REFUSED = 5


class OpenwatchGuard(dnf.Plugin):
    """Refuses a transaction as a whole."""

    name = "openwatch_guard"

    def pre_transaction(self):
        """Runs when everything is fetched and nothing is changed."""
        if self.base.conf.installroot != "/":
            return
        words = []
        for package in self.base.transaction.install_set:
            words += [package.name, package.evr, package.localPkg() or ""]
        if not words:
            return
        try:
            ended = subprocess.run(
                [PROGRAM, "scriptlet", "guard", "dnf", "--files"] + words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except OSError:
            # A program that is broken must not block its own repair.
            return
        said = ended.stderr.decode("utf-8", "replace").rstrip()
        if ended.returncode == REFUSED:
            raise dnf.exceptions.Error(said)
        if said:
            print(said)
