#!/bin/sh
# Before the files of this version go; $1 is 0 for a removal, 1 where another version stays.
if [ "$1" -eq 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl stop openwatch-backup-cleanup.timer openwatch.service || :
    fi
    systemctl --no-reload disable openwatch.service openwatch-upgrade.service \
        openwatch-rollback.service openwatch-backup-cleanup.timer >/dev/null 2>&1 || :
    rm -f /var/lib/openwatch/upgrade/timer-preset
    rm -f /usr/lib/python3*/*-packages/dnf-plugins/openwatch_guard.py \
        /usr/lib/python3*/*-packages/dnf-plugins/__pycache__/openwatch_guard.*.pyc
    echo "openwatch: restore points stay in /var/lib/openwatch/backups"
fi
exit 0
