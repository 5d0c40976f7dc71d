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
    cp /repo/monitor/monitor.py /repo/monitor/live.js /repo/monitor/smoke.py /repo/monitor/switch.sh /repo/monitor/build.sh $tree" || fail "release $1"
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

# monitor_machine [LINE OF THE OPERATOR'S FILE]...: 2.2 runs behind its link, with users and servers.
monitor_machine() {
  old_machine; monitor_files
  monitor_release 2.2 "${monitor_old[@]}"
  monitor_release 2.3 "${monitor_old[@]}"
  monitor_release 2.4 "${monitor_old[@]}" "${monitor_new[@]}"
  sh_ "systemctl stop openwatch.service
    useradd -r -m monitor; useradd -r -m monitor-build
    mkdir -p /srv/monitor/versions/2.2 /etc/monitor /usr/share/monitor
    mkdir -p /srv/monitor/data
    tar -xzf /srv/releases/monitor-v2.2.tar.gz -C /srv/monitor/versions/2.2 --strip-components=1
    ln -s versions/2.2 /srv/monitor/current
    printf '[web]\nsite = lab\n' > /etc/monitor/monitor.ini
    umask 027; echo MONITOR_TOKEN=$secret > /etc/monitor/secrets.env; chgrp monitor /etc/monitor/secrets.env
    cp /repo/monitor/upgrade.conf /usr/share/monitor/upgrade.conf" || fail "the installation"
  # The same token in a file of its own, which `expect_no_secret` passes over by its name.
  sh_ "umask 077; echo $secret > /etc/monitor/secrets.env-token" || fail "the token"
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
  run openwatch --app monitor migrate; expect_rc 0; sh_ 'chmod 644 /srv/monitor/data/monitor.db'
  monitor_sql "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40)
    insert into users (name) select 'user ' || i from n"
  monitor_sql "insert into servers (host) select 'host ' || id from users where id <= 12"
  run systemctl start monitor.service monitor-live.service; expect_rc 0
  for port in 8581 8582 8583 8584; do wait_for 60 m python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))"; done
}
monitor_unit() { # monitor_unit NAME COMMAND
  printf '%s\n' '[Unit]' 'AssertPathExists=!/var/lib/monitor/upgrade/pending' '[Service]' User=monitor \
    EnvironmentFile=/etc/monitor/secrets.env Environment=PYTHONDONTWRITEBYTECODE=1 "ExecStart=$2" '[Install]' \
    WantedBy=multi-user.target | m sh -c "cat > /etc/systemd/system/$1.service; systemctl daemon-reload" || fail "unit $1"
}
monitor_sql() {
  m python3 -c 'import sqlite3, sys
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
  expect_out 'smoke.py: exited with status 0'
  expect_monitor 2.3 'servers users'
  # A new table, with no row in it.
  run openwatch --app monitor upgrade --to v2.4 --plan; expect_rc 0; expect_out '0003'; expect_monitor 2.3 'servers users'
  run openwatch --app monitor upgrade --to v2.4; expect_rc 0; expect_out 'is up and healthy'
  expect_monitor 2.4 'audit servers users'; expect_is 0 monitor_sql 'select count(*) from audit'
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
  expect_rc 9; expect_out 'HTTP Error 500'; expect_out 'version 2\.2 is back with its data, and healthy'
  expect_monitor 2.2 'servers users'
}
