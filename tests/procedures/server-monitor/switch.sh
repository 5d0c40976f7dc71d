#!/bin/sh
# With two sides the proxy is led to the one that serves from now on.
set -eu
case ${OPENWATCH_SIDE:-} in
  blue) port=8611 ;;
  green) port=8612 ;;
  *) port= ;;
esac
[ -z "$port" ] || { echo $port > /srv/monitor/upstreams.new; mv /srv/monitor/upstreams.new /srv/monitor/upstreams; }
# Since 2.3 the configuration is an environment file; the older one stays for the way back.
[ "$OPENWATCH_VERSION" != 2.2 ] || exit 0
[ ! -e /etc/monitor/monitor.env ] || exit 0
sed -n 's/^site *= */MONITOR_SITE=/p' /etc/monitor/monitor.ini > /etc/monitor/monitor.env.new
mv /etc/monitor/monitor.env.new /etc/monitor/monitor.env
