#!/bin/sh
# After the files of this version went; on an upgrade the new version's %posttrans does the rest.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
exit 0
