"""Runs what Ansible sends in a machine of the lab: LAB_VERBS x MACHINE ..., which is what `ssh` would be."""
import os
import subprocess

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: lab
short_description: machines of the package tests
description: Runs commands in a machine of the package tests, by the verbs of its lab.
options:
  remote_addr:
    description: name of the machine
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
"""


class Connection(ConnectionBase):
    transport = "lab"
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def _run(self, arguments, data=None):
        command = [os.environ["LAB_VERBS"], "x", self.get_option("remote_addr"), *arguments]
        stdin = {"input": data} if data is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(command, capture_output=True, check=False, **stdin)
        return done.returncode, done.stdout, done.stderr

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(["sh", "-c", cmd], in_data)

    def put_file(self, in_path, out_path):
        with open(in_path, "rb") as file:
            code, _, said = self._run(["sh", "-c", 'cat > "$1"', "put", out_path], file.read())
        if code:
            raise AnsibleError(f"cannot write {out_path}: {said!r}")

    def fetch_file(self, in_path, out_path):
        code, data, said = self._run(["cat", in_path])
        if code:
            raise AnsibleError(f"cannot read {in_path}: {said!r}")
        with open(out_path, "wb") as file:
            file.write(data)

    def close(self):
        self._connected = False
