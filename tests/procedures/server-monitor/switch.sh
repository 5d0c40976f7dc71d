#!/bin/sh
# Since 2.3 the configuration is an environment file; the older one stays for the way back.
set -eu
[ "$OPENWATCH_VERSION" != 2.2 ] || exit 0
[ ! -e /etc/monitor/monitor.env ] || exit 0
sed -n 's/^site *= */MONITOR_SITE=/p' /etc/monitor/monitor.ini > /etc/monitor/monitor.env.new
mv /etc/monitor/monitor.env.new /etc/monitor/monitor.env
