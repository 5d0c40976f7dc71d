#!/bin/sh
# After the new files are unpacked; files that only the old version has are still there.
systemd-tmpfiles --create openwatch.conf >/dev/null 2>&1 || :
# Presets speak once per unit, so that what the operator disabled stays disabled: at the first
# install, and for the timer also where an older version without it is upgraded.
if [ "$1" -eq 1 ]; then
    systemctl --no-reload preset openwatch.service openwatch-upgrade.service openwatch-rollback.service >/dev/null 2>&1 || :
fi
if [ ! -e /var/lib/openwatch/upgrade/timer-preset ]; then
    systemctl --no-reload preset openwatch-backup-cleanup.timer >/dev/null 2>&1 || :
    : > /var/lib/openwatch/upgrade/timer-preset
fi
if [ -d /run/systemd/system ] && systemctl --quiet is-enabled openwatch-backup-cleanup.timer; then
    systemctl daemon-reload
    systemctl start openwatch-backup-cleanup.timer || :
fi
# Where dnf 4 looks for plugins depends on its Python; dnf5 and apt find their guards at fixed places.
for dnf in /usr/lib/python3*/*-packages/dnf; do
    [ ! -d "$dnf" ] || { mkdir -p "$dnf-plugins" &&
        ln -sf /usr/share/openwatch/guard/openwatch_guard.py "$dnf-plugins/"; } || :
done
# On upgrade only: a fresh install never migrates. The work itself waits for %posttrans.
if [ "$1" -ge 2 ]; then
    /usr/bin/openwatch scriptlet rpm post "$1"
fi
exit 0
