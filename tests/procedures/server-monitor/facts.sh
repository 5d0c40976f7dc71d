# Chapter 5 of docs/PROCEDURES.md: an application without a package, from release archives, with a service in Python.
# shellcheck shell=bash disable=SC2154

monitor_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# monitor_release VERSION MIGRATION...: /srv/releases/monitor-vVERSION.tar.gz with these migrations.
monitor_release() {
  local tree=/root/monitor-$1
  sh_ "rm -rf $tree; mkdir -p $tree/migrations /srv/releases; echo $1 > $tree/VERSION" || fail "release $1"
  for file in monitor.py smoke.py; do
    m sh -c "cat > $tree/$file" < "$monitor_dir/$file" || fail "$file"
  done
  m sh -c "cat > $tree/build.sh" <<'BUILD' || fail "build.sh"
set -eu
[ ! -e broken ] || { echo 'SyntaxError: the runtime is too old' >&2; exit 1; }
python3 -m compileall -q .
BUILD
  # Since 2.3 the configuration is an environment file; the older one stays for the way back.
  m sh -c "cat > $tree/switch.sh" <<'SWITCH' || fail "switch.sh"
set -eu
[ "$OPENWATCH_VERSION" != 2.2 ] || exit 0
[ ! -e /etc/monitor/monitor.env ] || exit 0
umask 027
sed -n 's/^token *= */MONITOR_TOKEN=/p' /etc/monitor/monitor.ini > /etc/monitor/monitor.env.new
chgrp monitor /etc/monitor/monitor.env.new
mv /etc/monitor/monitor.env.new /etc/monitor/monitor.env
SWITCH
  while [ $# -gt 1 ]; do
    printf -- '-- migrate:up\n%s;\n-- migrate:down\n%s;\n' "$3" "$4" |
      m sh -c "cat > $tree/migrations/$2.sql" || fail "migration $2"
    set -- "$1" "${@:5}"
  done
  sh_ "tar -czf /srv/releases/monitor-v$1.tar.gz -C /root monitor-$1"
}
monitor_first='create table users (id serial primary key, name text not null)'
monitor_second='create table servers (id serial primary key, host text not null)'
monitor_third='create table audit (id bigserial primary key, what text not null)'

# monitor_machine [LINE OF THE OPERATOR'S FILE]: 2.2 runs behind its link, with users and servers.
monitor_machine() {
  old_machine
  monitor_release 2.2 0001_users "$monitor_first" 'drop table users' 0002_servers "$monitor_second" 'drop table servers'
  monitor_release 2.3 0001_users "$monitor_first" 'drop table users' 0002_servers "$monitor_second" 'drop table servers'
  monitor_release 2.4 0001_users "$monitor_first" 'drop table users' 0002_servers "$monitor_second" 'drop table servers' \
    0003_audit "$monitor_third" 'drop table audit'
  sh_ "useradd -r -m monitor; useradd -r -m monitor-build
    mkdir -p /srv/monitor/versions/2.2 /etc/monitor /usr/share/monitor
    tar -xzf /srv/releases/monitor-v2.2.tar.gz -C /srv/monitor/versions/2.2 --strip-components=1
    ln -s versions/2.2 /srv/monitor/current
    printf '[api]\ntoken = token-of-this-test\n' > /etc/monitor/monitor.ini
    chown -R :monitor /etc/monitor && chmod 640 /etc/monitor/monitor.ini
    echo '${1:-}' > /etc/monitor/upgrade.conf
    printf 'MONITOR_DATABASE_URL=\"host=/var/run/postgresql dbname=monitor user=monitor\"\n' > /etc/monitor/secrets.env
    chmod 640 /etc/monitor/secrets.env" || fail "the installation"
  m sh -c 'cat > /usr/share/monitor/upgrade.conf' < "$monitor_dir/upgrade.conf" || fail "upgrade.conf"
  m sh -c 'cat > /etc/systemd/system/monitor.service' <<'UNIT' || fail "unit"
[Unit]
AssertPathExists=!/var/lib/monitor/upgrade/pending

[Service]
User=monitor
ExecStart=/usr/bin/python3 /srv/monitor/current/monitor.py
UNIT
  sh_ 'su postgres -c "createuser monitor && createdb -O monitor monitor"' || fail "database"
  run openwatch --app monitor migrate; expect_rc 0
  monitor_sql "insert into users (name) select 'user ' || i from generate_series(1, 40) i;
    insert into servers (host) select 'host ' || i from generate_series(1, 12) i"
  sh_ 'systemctl daemon-reload; systemctl start monitor.service' || fail "start"
  wait_for 60 m python3 /srv/monitor/current/smoke.py
}
monitor_sql() { sql "$1" monitor; }
monitor_rows() { monitor_sql "select (select count(*) from users) || ' ' || (select count(*) from servers)"; }
expect_monitor() { # VERSION TABLES: link, service, rows, smoke test
  expect_is "/srv/monitor/versions/$1" m readlink -f /srv/monitor/current
  expect_is active m systemctl is-active monitor.service
  expect_is "40 12" monitor_rows
  run python3 /srv/monitor/current/smoke.py; expect_rc 0
  expect_is "$2" monitor_sql "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'"
  expect_is none sh_ 'test -e /var/lib/monitor/upgrade/pending && echo there || echo none'
}

fact "deb" an_application_without_a_package_goes_over_three_releases_and_back
an_application_without_a_package_goes_over_three_releases_and_back() {
  monitor_machine
  # The configuration moves, and no migration is pending.
  run openwatch --app monitor upgrade --to v2.3; expect_rc 0; expect_out 'no migration was pending'
  expect_monitor 2.3 'servers users'
  # A new table, with no row in it.
  run openwatch --app monitor upgrade --to v2.4 --plan; expect_rc 0; expect_out '0003'; expect_monitor 2.3 'servers users'
  run openwatch --app monitor upgrade --to v2.4; expect_rc 0; expect_out 'is up and healthy'
  expect_monitor 2.4 'audit servers users'; expect_is 0 monitor_sql 'select count(*) from audit'
  run openwatch --app monitor rollback --yes; expect_rc 0; expect_out 'back at version 2\.3'
  expect_monitor 2.3 'servers users'
}

whole_fact "deb" a_release_that_does_not_build_costs_nothing
a_release_that_does_not_build_costs_nothing() {
  monitor_machine
  sh_ 'touch /root/monitor-2.4/broken; tar -czf /srv/releases/monitor-v2.4.tar.gz -C /root monitor-2.4'
  pid=$(m systemctl show -P MainPID monitor.service)
  run openwatch --app monitor upgrade --to v2.4
  expect_rc 5; expect_out 'the runtime is too old'; expect_out 'nothing was changed; version 2\.2 is in place'
  expect_is "$pid" m systemctl show -P MainPID monitor.service
  expect_monitor 2.2 'servers users'; expect_is 2.2 sh_ 'ls /srv/monitor/versions'
}

whole_fact "deb" a_release_whose_migration_fails_is_taken_back_with_everything
a_release_whose_migration_fails_is_taken_back_with_everything() {
  monitor_machine 'on_failure = "restore"'
  sh_ 'printf -- "-- migrate:up\ncreate table half (i int); select 1/0;\n-- migrate:down\n" \
      > /root/monitor-2.4/migrations/0004_half.sql
    tar -czf /srv/releases/monitor-v2.4.tar.gz -C /root monitor-2.4'
  run openwatch --app monitor upgrade --to v2.4
  expect_rc 9; expect_out 'version 2\.2 is back with its data, and healthy'
  expect_monitor 2.2 'servers users'
}

whole_fact "deb" a_single_migration_is_taken_back_with_a_restore_point_first
a_single_migration_is_taken_back_with_a_restore_point_first() {
  monitor_machine
  run openwatch --app monitor upgrade --to v2.4; expect_rc 0
  sh_ 'systemctl stop monitor.service'
  run openwatch --app monitor migrate --to 0002 --dry-run; expect_rc 0; expect_out '0003'
  run openwatch --app monitor migrate --to 0002 --yes; expect_rc 0; expect_out 'took back 0003, restore point'
  expect_is servers\ users monitor_sql "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'"
  run openwatch --app monitor migrate --status; expect_rc 0; expect_out 'pending +0003'
}
