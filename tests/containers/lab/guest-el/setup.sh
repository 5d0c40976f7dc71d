#!/bin/sh
# What:   turns an EL image with PostgreSQL installed into a base for package tests; runs inside it.
# Needs:  root in a RUN step; guest/ as /lab, this directory as /lab-el.
# Result: boots with a cluster that takes passwords on 127.0.0.1; only the lab's repositories are asked.
set -e
install -m755 /lab/lab-init /lab-init
: > /etc/machine-id
mkdir -p /var/log/journal
# postgresql-setup asks a running systemd where the data is; here none runs.
runuser -u postgres -- initdb -D /var/lib/pgsql/data -E UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=md5
systemctl enable postgresql.service
systemctl mask console-getty.service getty@.service systemd-firstboot.service dnf-makecache.timer
# The machines have no network: a repository that cannot be reached would fail every dnf command.
mkdir -p /etc/yum.repos.d/off
mv /etc/yum.repos.d/*.repo /etc/yum.repos.d/off/
dnf clean all
rm -rf /lab /lab-el
