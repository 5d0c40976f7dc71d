# Chapter 5 of docs/PROCEDURES.md: an application without a package, from release archives, with an SQLite database
# and services in Python and Node.
# shellcheck shell=bash disable=SC2154

monitor_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# monitor_files: the sources, and Node where this host has one that runs on the machines too, once per run.
monitor_files() {
  (
    flock 9
    [ ! -e "$repo/monitor" ] || exit 0
    node=$(command -v node)
    if [ -n "$node" ]; then
      mkdir -p "$repo/node/lib" && cp -L "$node" "$repo/node/node"
      ldd "$node" | awk '$3 ~ "^/" && $3 !~ /\/(libc|libm|libdl|libpthread|librt)\.so/ { print $3 }' | xargs -r cp -Lt "$repo/node/lib"
    fi
    cp -a "$monitor_dir" "$repo/monitor"
  ) 9> "$work/monitor.lock" || fail "no sources"
}

# monitor_release VERSION [NAME UP DOWN]...: /srv/releases/monitor-vVERSION.tar.gz with these migrations.
monitor_release() {
  local tree=/root/monitor-$1
  sh_ "rm -rf $tree; mkdir -p $tree/migrations /srv/releases; echo $1 > $tree/VERSION
    cp /repo/monitor/monitor.py /repo/monitor/live.js /repo/monitor/switch.sh /repo/monitor/build.sh $tree" || fail "release $1"
  while [ $# -gt 1 ]; do
    printf -- '-- migrate:up\n%s;\n-- migrate:down\n%s;\n' "$3" "$4" |
      m sh -c "cat > $tree/migrations/$2.sql" || fail "migration $2"
    set -- "$1" "${@:5}"
  done
  monitor_archive "$1"
}
monitor_archive() { sh_ "tar -czf /srv/releases/monitor-v$1.tar.gz -C /root monitor-$1" || fail "archive $1"; }
monitor_old=(0001_users 'create table users (id integer primary key, name text not null)' 'drop table users'
  0002_servers 'create table servers (id integer primary key, host text not null)' 'drop table servers')
monitor_new=(0003_audit 'create table audit (id integer primary key, what text not null)' 'drop table audit')

# monitor_installed CONF: 2.2 behind its link, with this packager's half; nothing runs yet.
monitor_installed() {
  old_machine; monitor_files
  monitor_release 2.2 "${monitor_old[@]}"
  monitor_release 2.3 "${monitor_old[@]}"
  sh_ "systemctl stop openwatch.service
    useradd -r -m monitor; useradd -r -m monitor-build
    mkdir -p /srv/monitor/versions/2.2 /etc/monitor /usr/share/monitor
    install -d -o monitor -g monitor -m 750 /srv/monitor/data
    tar -xzf /srv/releases/monitor-v2.2.tar.gz -C /srv/monitor/versions/2.2 --strip-components=1
    ln -s versions/2.2 /srv/monitor/current
    printf '[web]\nsite = lab\n' > /etc/monitor/monitor.ini
    umask 027; echo MONITOR_TOKEN=$secret > /etc/monitor/secrets.env; chgrp monitor /etc/monitor/secrets.env
    cp /repo/monitor/$1 /usr/share/monitor/upgrade.conf" || fail "the installation"
  # The same token in a file of its own, which `expect_no_secret` passes over by its name.
  sh_ "umask 077; echo $secret > /etc/monitor/secrets.env-token" || fail "the token"
}
monitor_filled() { # the schema of 2.2, 40 users and 12 servers
  run openwatch --app monitor migrate; expect_rc 0
  monitor_sql "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40)
    insert into users (name) select 'user ' || i from n"
  monitor_sql "insert into servers (host) select 'host ' || id from users where id <= 12"
}

# monitor_machine [LINE OF THE OPERATOR'S FILE]...: all four ports of 2.2 answer.
monitor_machine() {
  monitor_installed upgrade.conf
  monitor_release 2.4 "${monitor_old[@]}" "${monitor_new[@]}"
  printf '%s\n' 'baseline_stop = ["rows", "probes"]' "$@" | m sh -c 'cat > /etc/monitor/upgrade.conf'
  local live='/usr/bin/python3 /srv/monitor/current/monitor.py --live'
  if sh_ 'LD_LIBRARY_PATH=/repo/node/lib /repo/node/node --version' >/dev/null; then
    live='/usr/local/bin/node /srv/monitor/current/live.js'
    sh_ "printf '#!/bin/sh\nLD_LIBRARY_PATH=/repo/node/lib exec /repo/node/node \"\$@\"\n' > /usr/local/bin/node
      chmod 755 /usr/local/bin/node"
  else
    say "this host has no Node for the machine: WebSockets are served by Python, and Node is not required"
    sh_ "sed -i '/# node\$/d' /usr/share/monitor/upgrade.conf"
  fi
  monitor_unit monitor '/usr/bin/python3 /srv/monitor/current/monitor.py'
  monitor_unit monitor-live "$live"
  monitor_filled
  run systemctl start monitor.service monitor-live.service; expect_rc 0
  for port in 8581 8582 8583 8584; do monitor_answers $port; done
}
monitor_answers() { wait_for 60 m python3 -c "import socket; socket.create_connection(('127.0.0.1', $1))"; }
monitor_unit() { # monitor_unit NAME COMMAND
  printf '%s\n' '[Unit]' 'AssertPathExists=!/var/lib/monitor/upgrade/pending' '[Service]' User=monitor \
    EnvironmentFile=/etc/monitor/secrets.env Environment=PYTHONDONTWRITEBYTECODE=1 "ExecStart=$2" '[Install]' \
    WantedBy=multi-user.target | m sh -c "cat > /etc/systemd/system/$1.service; systemctl daemon-reload" || fail "unit $1"
}
monitor_sql() { # as whoever owns the file: nothing beside it may become root's
  m setpriv --reuid monitor --regid monitor --clear-groups python3 -c 'import sqlite3, sys
with sqlite3.connect("/srv/monitor/data/monitor.db") as c: print(*(r[0] for r in c.execute(sys.argv[1])))' "$1"
}
monitor_page() { # monitor_page PORT PATH: with the token, asked from inside
  m python3 -c 'import sys, urllib.request as u
token = open("/etc/monitor/secrets.env-token").read().strip()
print(u.urlopen(u.Request("http://127.0.0.1:%s%s" % tuple(sys.argv[1:]), headers={"Authorization": "Bearer " + token}), timeout=10).read().decode())' "$1" "$2"
}
expect_monitor() { # VERSION TABLES: link, services, rows, answers
  expect_is "/srv/monitor/versions/$1" m readlink -f /srv/monitor/current
  expect_is active m systemctl is-active monitor.service; expect_is active m systemctl is-active monitor-live.service
  expect_is 40 monitor_sql 'select count(*) from users'; expect_is 12 monitor_sql 'select count(*) from servers'
  expect_is "$2" monitor_sql "select name from sqlite_schema where type = 'table' and name <> 'schema_migrations' order by name"
  expect_is '{"users": 40, "servers": 12}' monitor_page 8581 /api/counts
  expect_is "{\"version\": \"$1\", \"site\": \"lab\"}" monitor_page 8581 /health
  expect_is none sh_ 'test -e /var/lib/monitor/upgrade/pending && echo there || echo none'
  expect_is '' sh_ 'ls /srv/monitor/data | grep -v -e "^monitor.db$" -e _replaced_'
}
monitor_main_pids() { m systemctl show -P MainPID monitor.service monitor-live.service; }

fact "deb" an_application_without_a_package_goes_over_three_releases_and_back
an_application_without_a_package_goes_over_three_releases_and_back() {
  monitor_machine
  # What the machine must have is asked first, and all of it at once.
  sh_ 'sed -i "s/^at_least = \"3.8\"/at_least = \"33.8\"/; s/^free = \"1GB\"/free = \"900TB\"/" /usr/share/monitor/upgrade.conf'
  run openwatch --app monitor upgrade --to v2.3; expect_rc 5; expect_out '33\.8'; expect_out 'are needed below /srv'; expect_monitor 2.2 'servers users'
  sh_ 'sed -i "s/33\.8/3.8/; s/900TB/1GB/" /usr/share/monitor/upgrade.conf'
  # The configuration moves, and no migration is pending.
  run openwatch --app monitor upgrade --to v2.3; expect_rc 0; expect_out 'no migration was pending'
  expect_out 'websocket ws://127.0.0.1:8582/live: opened a WebSocket'
  expect_monitor 2.3 'servers users'
  # A new table, with no row in it.
  run openwatch --app monitor upgrade --to v2.4 --plan; expect_rc 0; expect_out '0003'; expect_monitor 2.3 'servers users'
  run openwatch --app monitor upgrade --to v2.4; expect_rc 0; expect_out 'is up and healthy'
  expect_monitor 2.4 'audit servers users'; expect_is 0 monitor_sql 'select count(*) from audit'
  # Settings as they hold: where the token lies, and not the token.
  run openwatch --app monitor status; expect_rc 0
  run openwatch --app monitor backup verify --restore latest; expect_rc 0
  run openwatch --app monitor rollback --yes; expect_rc 0; expect_out 'back at version 2\.3'
  expect_monitor 2.3 'servers users'
}

whole_fact "deb" a_release_that_does_not_build_costs_nothing
a_release_that_does_not_build_costs_nothing() {
  monitor_machine
  sh_ 'touch /root/monitor-2.4/broken-build'; monitor_archive 2.4
  pids=$(monitor_main_pids)
  run openwatch --app monitor upgrade --to v2.4
  expect_rc 5; expect_out 'the runtime is too old'; expect_out 'nothing was changed; version 2\.2 is in place'
  expect_is "$pids" monitor_main_pids
  expect_monitor 2.2 'servers users'; expect_is 2.2 sh_ 'ls /srv/monitor/versions'
}

whole_fact "deb" a_release_whose_migration_fails_is_taken_back_with_everything
a_release_whose_migration_fails_is_taken_back_with_everything() {
  monitor_machine 'on_failure = "restore"'
  printf -- '-- migrate:up\ncreate table half (i int); insert into nowhere values (1);\n-- migrate:down\n' |
    m sh -c 'cat > /root/monitor-2.4/migrations/0004_half.sql'
  monitor_archive 2.4
  run openwatch --app monitor upgrade --to v2.4
  expect_rc 9; expect_out 'no such table: nowhere'; expect_out 'version 2\.2 is back with its data, and healthy'
  expect_monitor 2.2 'servers users'
}

whole_fact "deb" a_release_that_fails_its_smoke_checks_is_taken_back_with_the_data
a_release_that_fails_its_smoke_checks_is_taken_back_with_the_data() {
  monitor_machine 'on_failure = "restore"'
  sh_ 'touch /root/monitor-2.4/broken-at-run-time'; monitor_archive 2.4
  run openwatch --app monitor upgrade --to v2.4
  expect_rc 9; expect_out 'answered 500'; expect_out 'version 2\.2 is back with its data, and healthy'
  expect_monitor 2.2 'servers users'
}

whole_fact "deb" a_single_migration_is_taken_back_with_a_restore_point_first
a_single_migration_is_taken_back_with_a_restore_point_first() {
  monitor_machine
  run openwatch --app monitor upgrade --to v2.4; expect_rc 0
  run openwatch --app monitor migrate --to 0002 --yes; expect_rc 5; expect_out 'would find a schema that it does not know'
  sh_ 'systemctl stop monitor.service monitor-live.service'
  run openwatch --app monitor migrate --to 0002 --dry-run; expect_rc 0; expect_out '0003'
  run openwatch --app monitor migrate --to 0002 --yes; expect_rc 0; expect_out 'took back 0003, restore point'
  point=$(sed -n 's/^took back 0003, restore point //p' <<<"$out")
  expect_is 'servers users' monitor_sql "select name from sqlite_schema where type = 'table' and name <> 'schema_migrations' order by name"
  run openwatch --app monitor migrate --status; expect_rc 0; expect_out 'pending +0003'
  # On a copy beside the file, which its user migrates and nobody finds afterwards.
  run openwatch --app monitor rehearse; expect_rc 0; expect_out '0003'; expect_out 'nothing of the rehearsal is left'
  expect_is 'monitor.db' sh_ 'ls -A /srv/monitor/data'
  run openwatch --app monitor restore "$point" --yes; expect_rc 0
  expect_is 'audit servers users' monitor_sql "select name from sqlite_schema where type = 'table' and name <> 'schema_migrations' order by name"
  expect_is monitor sh_ 'stat -c %U /srv/monitor/data/monitor.db'
}

# monitor_behind_proxy CONF PORTS UNIT:COMMAND...: these units of 2.2 behind a proxy on 8600, and what 2.3 needs.
monitor_behind_proxy() {
  monitor_installed "$1"
  sh_ "echo $2 > /srv/monitor/upstreams; echo MONITOR_SITE=lab > /etc/monitor/monitor.env
    for side in blue green; do ln -s versions/2.2 /srv/monitor/\$side; done
    systemd-run -q --unit=proxy python3 /repo/monitor/proxy.py" || fail "the proxy"
  for unit in "${@:3}"; do monitor_unit "${unit%%:*}" "/usr/bin/python3 ${unit#*:}"; done
  monitor_filled
}
# monitor_counted COMMAND...: while clients ask the proxy; what they counted is in $counted.
monitor_counted() {
  sh_ "rm -f /root/counted*; systemd-run -q --collect --unit=clients python3 /repo/monitor/client.py /root/counted" || fail "clients"
  wait_for 60 m test -e /root/counted.began
  run "$@"
  sh_ 'touch /root/counted.stop'; wait_for 60 m test -e /root/counted
  counted=$(sh_ 'cat /root/counted')
  printf 'counted: %s\n%s\n' "$counted" "$(m journalctl --no-pager -q -o cat -u clients.service)" >> "$scratch/log"
}
expect_counted() { [ "$counted" = "$1" ] || fail "the clients counted $counted, not $1"; }
monitor_started() { m systemctl show -P ActiveEnterTimestampMonotonic "$1"; }

monitor_rolling() {
  monitor_behind_proxy rolling.conf '8601 8602' 'monitor@:/srv/monitor/current/monitor.py --port 860%i'
  run systemctl start monitor@1.service monitor@2.service; expect_rc 0
  for port in 8600 8601 8602; do monitor_answers $port; done
}

fact "deb" instances_are_restarted_one_after_the_other_without_a_failed_request
instances_are_restarted_one_after_the_other_without_a_failed_request() {
  monitor_rolling
  pids=$(m systemctl show -P MainPID monitor@1.service monitor@2.service)
  monitor_counted openwatch --app monitor upgrade --to v2.3
  expect_rc 0; expect_out 'no migration was pending'; expect_counted '{"failed": 0, "versions": ["2.2", "2.3"]}'
  [ "$pids" != "$(m systemctl show -P MainPID monitor@1.service monitor@2.service)" ] || fail "nothing was restarted"
  # The wait of `restart_pause`, in microseconds, between the proof of the first and the stop of the second.
  [ $(($(monitor_started monitor@2.service) - $(monitor_started monitor@1.service))) -ge 3000000 ] || fail "no wait"
  for port in 8601 8602; do expect_is '{"version": "2.3", "site": "lab"}' monitor_page $port /health; done
}

whole_fact "deb" an_instance_that_is_not_healthy_ends_the_rolling_restart_and_the_other_one_serves
an_instance_that_is_not_healthy_ends_the_rolling_restart_and_the_other_one_serves() {
  monitor_rolling
  sh_ 'touch /root/monitor-2.3/broken-at-run-time'; monitor_archive 2.3
  other=$(m systemctl show -P MainPID monitor@2.service)
  monitor_counted openwatch --app monitor upgrade --to v2.3
  expect_rc 8; expect_out 'unit 1 of 2; the others were left as they run'
  grep -q '"failed": 0' <<<"$counted" || fail "the clients counted $counted"
  expect_is "$other" m systemctl show -P MainPID monitor@2.service
  expect_is '{"version": "2.2", "site": "lab"}' monitor_page 8600 /health
  run openwatch --app monitor rollback --yes; expect_rc 0; expect_out 'back at version 2\.2'
  for port in 8601 8602; do expect_is '{"version": "2.2", "site": "lab"}' monitor_page $port /health; done
}

monitor_sides() {
  monitor_behind_proxy sides.conf 8611 'monitor-blue:/srv/monitor/blue/monitor.py --port 8611' \
    'monitor-green:/srv/monitor/green/monitor.py --port 8612'
  run systemctl start monitor-blue.service; expect_rc 0
  for port in 8600 8611; do monitor_answers $port; done
}
expect_side() { # expect_side SERVING IDLE VERSION
  expect_is active m systemctl is-active "monitor-$1.service"; expect_is inactive m systemctl is-active "monitor-$2.service"
  expect_is "{\"version\": \"$3\", \"site\": \"lab\"}" monitor_page 8600 /health
  expect_is "/srv/monitor/versions/$3" m readlink -f /srv/monitor/current
  expect_is "/srv/monitor/versions/$3" m readlink -f "/srv/monitor/$1"
  expect_is none sh_ 'test -e /var/lib/monitor/upgrade/pending && echo there || echo none'
}

fact "deb" a_version_comes_on_the_other_side_without_a_failed_request
a_version_comes_on_the_other_side_without_a_failed_request() {
  monitor_sides; expect_side blue green 2.2
  monitor_counted openwatch --app monitor upgrade --to v2.3
  expect_rc 0; expect_counted '{"failed": 0, "versions": ["2.2", "2.3"]}'; expect_side green blue 2.3
}

whole_fact "deb" a_side_that_is_not_healthy_is_left_and_one_that_fails_behind_the_proxy_is_switched_back
a_side_that_is_not_healthy_is_left_and_one_that_fails_behind_the_proxy_is_switched_back() {
  monitor_sides
  served=$(m systemctl show -P MainPID monitor-blue.service)
  sh_ 'touch /root/monitor-2.3/broken-at-run-time'; monitor_archive 2.3
  monitor_counted openwatch --app monitor upgrade --to v2.3
  expect_rc 8; expect_out 'nothing was switched; version 2\.2 serves on blue'
  expect_counted '{"failed": 0, "versions": ["2.2"]}'; expect_side blue green 2.2
  # Healthy by itself, and not behind the proxy: what is asked there is asked after the switch.
  monitor_release 2.3.1 "${monitor_old[@]}"; sh_ 'touch /root/monitor-2.3.1/broken-behind-proxy'; monitor_archive 2.3.1
  monitor_counted openwatch --app monitor upgrade --to v2.3.1
  expect_rc 9; expect_out 'version 2\.2 serves on blue again; no data was touched'
  expect_counted '{"failed": 0, "versions": ["2.2", "unknown"]}'; expect_side blue green 2.2
  expect_is "$served" m systemctl show -P MainPID monitor-blue.service
}
