#!/bin/bash
# What:   builds and installs one stub rpm that tells rpm what this Debian userspace provides.
# Needs:  root, rpmbuild; runs inside the base.
# Result: dependency checks of rpm and dnf are honest; systemd's file triggers exist as on EL9.
set -euo pipefail
work=$(mktemp -d); export HOME=$work
libs=$(ls /lib/x86_64-linux-gnu/{libc.so.6,libm.so.6,libpthread.so.0,libdl.so.2,librt.so.1,libgcc_s.so.1,ld-linux-x86-64.so.2} 2>/dev/null || :)
{ cat <<'S'
Name: lab-userspace
Version: 1
Release: 1
Summary: Declares the Debian userspace below rpm
License: MIT
AutoReqProv: no
S
for p in /bin/sh /usr/bin/sh /bin/bash /usr/bin/bash /usr/sbin/useradd /usr/bin/systemctl /usr/bin/env; do
  [ ! -e $p ] || echo "Provides: $p"; done
echo "Provides: systemd = $(dpkg-query -W -f '${Version}' systemd | sed 's/[-~].*//')"
echo "Provides: systemd-units shadow-utils coreutils glibc config(lab)"
echo "Provides: postgresql-server = $(dpkg-query -W -f '${Version}' postgresql | sed 's/+.*//')"
echo "Provides: postgresql = $(dpkg-query -W -f '${Version}' postgresql | sed 's/+.*//')"
echo "$libs" | /usr/lib/rpm/elfdeps --provides | sort -u | sed 's/^/Provides: /'
cat <<'S'
%description
x
%files
# what systemd.spec of Fedora and EL carries: reload after units changed, then restart the marked ones
%transfiletriggerin -P 900900 -- /usr/lib/systemd/system/ /etc/systemd/system/
/usr/lib/systemd/systemd-update-helper system-reload-restart || :
%transfiletriggerpostun -P 1000100 -- /usr/lib/systemd/system/ /etc/systemd/system/
/usr/lib/systemd/systemd-update-helper system-reload || :
%transfiletriggerpostun -P 10000 -- /usr/lib/systemd/system/ /etc/systemd/system/
/usr/lib/systemd/systemd-update-helper system-restart || :
S
} > "$work/stub.spec"
rpmbuild -bb --quiet --define "_topdir $work/rb" --define '__os_install_post %{nil}' \
  --define "_rpmdir $work" --define '_build_name_fmt stub.rpm' "$work/stub.spec"
rpm -i "$work/stub.rpm" 2>&1 | grep -v Alien || :
rpm -q lab-userspace
rm -rf "$work"
