# Facts about an application of several services and databases, with two migration tools, as one package.
# shellcheck shell=bash disable=SC2154

# trio_package VERSION: /root/trio-VERSION.deb or .rpm of three units, a timer and three databases:
# accounts in plain files, compute and storage by a tool that commits each statement by itself. What each of
# them does lies in /root/trio/{accounts,compute,storage}, a statement a line; accounts has a file for each.
trio_package() {
  local version=$1 dir=/root/trio-$1 family=$family
  sh_ "rm -rf $dir; mkdir -p $dir/usr/share/trio/migrations $dir/usr/bin $dir/usr/lib/systemd/system && cd $dir
    echo $version-1 > usr/share/trio/version; cp /root/trio/compute /root/trio/storage usr/share/trio/
    n=0; while read -r line; do n=\$((n + 1)); echo \"\$line;\" > usr/share/trio/migrations/000\${n}_step.sql; done < /root/trio/accounts
    sed -e 's/openwatch upgrade/openwatch --app trio upgrade/' -e 's/openwatch/trio/g' -e 's,/usr/bin/trio,/usr/bin/openwatch,' \
      /usr/lib/systemd/system/openwatch-upgrade.service > usr/lib/systemd/system/trio-upgrade.service
    for unit in web dispatcher events; do printf '%s\n' '[Unit]' 'AssertPathExists=!/var/lib/trio/upgrade/pending' \
      Wants=trio-upgrade.service After=trio-upgrade.service '[Service]' 'ExecStart=/bin/sleep infinity' \
      '[Install]' WantedBy=multi-user.target > usr/lib/systemd/system/trio-\$unit.service; done
    printf '%s\n' '[Unit]' 'AssertPathExists=!/var/lib/trio/upgrade/pending' '[Timer]' OnActiveSec=1s OnUnitInactiveSec=1s \
      Unit=trio-web.service '[Install]' WantedBy=timers.target > usr/lib/systemd/system/trio-tick.timer" || fail "package $version"
  m sh -c "cat > $dir/usr/bin/trio-tool; chmod 755 $dir/usr/bin/trio-tool" <<'TOOL' || fail "tool"
#!/bin/sh
# trio-tool DATABASE [--check]: what is applied is counted in a table.
set -eu
psql() { command psql -XqAtv ON_ERROR_STOP=1 "$@"; }
done=$(psql -c 'select count(*) from applied' 2>/dev/null || echo 0)
all=$(wc -l < "/usr/share/trio/$1")
if [ "${2:-}" = --check ]; then [ "$done" = "$all" ] || exit 1; exit 0; fi
[ "$done" != 0 ] || psql -c 'create table if not exists applied (n int)'
while [ "$done" -lt "$all" ]; do
  done=$((done + 1))
  psql -c "$(sed -n "${done}p" "/usr/share/trio/$1")"
  psql -c "insert into applied values ($done)"
done
TOOL
  m sh -c "cat > $dir/usr/share/trio/upgrade.conf" <<'CONF' || fail "upgrade.conf"
[app]
services = ["trio-tick.timer", "trio-web.service", "trio-dispatcher.service", "trio-events.service"]

[[database]]
name = "accounts"
url_env = "ACCOUNTS_URL"
user = "trio"
migrations = { format = "plain", dir = "/usr/share/trio/migrations" }

[[database]]
name = "compute"
url_env = "COMPUTE_URL"
user = "trio"
migrations = { command = ["/usr/bin/trio-tool", "compute"], status_command = ["/usr/bin/trio-tool", "compute", "--check"], user = "trio" }

[[database]]
name = "storage"
url_env = "STORAGE_URL"
user = "trio"
migrations = { command = ["/usr/bin/trio-tool", "storage"], status_command = ["/usr/bin/trio-tool", "storage", "--check"], user = "trio" }
CONF
  "trio_$family" "$version" "$dir"
}

trio_deb() { # trio_deb VERSION DIR
  m sh -c "mkdir -p $2/DEBIAN; cd $2/DEBIAN
    printf 'Package: trio\nVersion: $1-1\nArchitecture: all\nDepends: openwatch\nMaintainer: trio <trio@example.org>\nDescription: three\n' > control
    echo 'interest-noawait trio-upgrade' > triggers
    cat > postinst; printf '%s\n' '#!/bin/sh' 'set -e' 'if [ \"\$1\" = upgrade ] && [ -n \"\$2\" ]; then' \
      '  /usr/bin/openwatch --app trio scriptlet deb preinst \"\$@\" || [ \"\$?\" -ne 5 ] || exit 5; fi' > preinst
    chmod 755 postinst preinst; dpkg-deb --build $2 /root/trio-$1.deb >/dev/null" <<'SCRIPT' || fail "deb $1"
#!/bin/sh
set -e
if [ "$1" = configure ]; then systemctl daemon-reload; fi
if [ "$1" = configure ] && [ -n "$2" ]; then
    /usr/bin/openwatch --app trio scriptlet deb postinst "$@"
    dpkg-trigger trio-upgrade
fi
if [ "$1" = triggered ]; then /usr/bin/openwatch --app trio scriptlet deb postinst "$@"; fi
SCRIPT
}

trio_rpm() { # trio_rpm VERSION DIR
  m sh -c "cat > $2.spec; sed -i 's/@VERSION@/$1/' $2.spec; mkdir -p /root/rb
    rpmbuild -bb --quiet --define '_topdir /root/rb' --define '__os_install_post %{nil}' --define '_rpmdir /root' \
      --define '_build_name_fmt trio-$1.rpm' --define 'tree $2' $2.spec" <<'SPEC' || fail "rpm $1"
Name: trio
Version: @VERSION@
Release: 1
Summary: three
License: MIT
BuildArch: noarch
AutoReqProv: no
Requires: openwatch
%description
three
%install
cp -a %{tree}/. %{buildroot}/
%files
/usr/bin/trio-tool
/usr/share/trio
/usr/lib/systemd/system/*
%pre
if [ "$1" -ge 2 ]; then
    systemd-run --quiet --collect --wait --pipe /usr/bin/openwatch --app trio scriptlet rpm pre "$1" %{version}-%{release} || [ "$?" -ne 5 ] || exit 5
fi
%post
systemctl daemon-reload
if [ "$1" -ge 2 ]; then /usr/bin/openwatch --app trio scriptlet rpm post "$1"; fi
%posttrans
if [ -e /var/lib/trio/upgrade/pending ]; then /usr/bin/openwatch --app trio scriptlet rpm posttrans "$1" || exit; fi
SPEC
}

trio_files() { # trio_files ACCOUNTS COMPUTE STORAGE: the statements of a release, lines
  local file; m mkdir -p /root/trio
  for file in accounts compute storage; do printf '%s\n' "$1" | m sh -c "cat > /root/trio/$file" || fail "$file"; shift; done
}
trio_install() { # trio_install VERSION: with this family's tool, from a file
  if [ "$family" = deb ]; then run dpkg -i "/root/trio-$1.deb"; else run rpm -U "/root/trio-$1.rpm"; fi
}

first="create table one (id int primary key, what text)"
# trio_machine: the first release in use, a row in each database; the dispatcher was stopped by the operator.
trio_machine() {
  old_machine
  trio_files "$first" "$first" "$first"; trio_package 1.0
  sh_ "useradd --system trio; mkdir -p /etc/trio
    for name in accounts compute storage; do
      upper=\$(echo \$name | tr a-z A-Z); echo \"\${upper}_URL=postgresql:///trio_\$name?host=/run/postgresql\"
    done > /etc/trio/secrets.env; chmod 600 /etc/trio/secrets.env
    runuser postgres -c 'createuser --createdb trio; for n in accounts compute storage; do createdb -O trio trio_\$n; done'" ||
    fail "preparation"
  trio_install 1.0; expect_rc 0
  run openwatch --app trio migrate; expect_rc 0
  local name; for name in accounts compute storage; do sql "insert into one values (1, 'kept')" trio_$name || fail "data"; done
  run systemctl enable --now trio-web.service trio-events.service trio-tick.timer; expect_rc 0
}
trio_data() { # without what tells when a migration was applied, and by whom
  local name; for name in accounts compute storage; do
    m runuser postgres -c "pg_dump --exclude-table-data=openwatch_schema_history trio_$name" | grep -vE '^\\(un)?restrict '
  done
}
expect_trio() { # expect_trio STATE: of each unit; the dispatcher stays as the operator left it
  local unit; for unit in trio-tick.timer trio-web.service trio-events.service; do wait_for 60 unit_is $unit "$1"; done
  expect_is inactive m systemctl is-active trio-dispatcher.service
}
unit_is() { [ "$(m systemctl is-active "$1")" = "$2" ]; }
expect_new_trio() {
  local name; for name in accounts compute storage; do expect_is 't|1|kept' sql "select paid, id, what from one" trio_$name; done
  expect_is none sh_ 'test -e /var/lib/trio/upgrade/pending && echo there || echo none'
  expect_trio active
}
paid="alter table one add column paid boolean default true"

# Rows 32, 34 and 35.
fact "deb rpm" three_databases_and_four_units_are_one_upgrade_and_go_back_together
three_databases_and_four_units_are_one_upgrade_and_go_back_together() {
  trio_machine
  sh_ "echo 'on_failure = \"restore\"' > /etc/trio/upgrade.conf"
  local before; before=$(trio_data)
  # The third fails when the tools have committed a part of each.
  trio_files "$first
$paid" "$first
$paid" "$first
$paid
alter table nothing add column x int"
  trio_package 2.0; trio_install 2.0
  [ "$family" = rpm ] || expect_failure
  expect_out 'nothing.* does not exist'; expect_out 'putting the data back'
  [ "$(trio_data)" = "$before" ] || fail "data differs: $(diff <(echo "$before") <(trio_data) | head -n 20)"
  expect_trio inactive
  # The next release goes the whole way, and starts what ran before the first attempt.
  trio_files "$first
$paid" "$first
$paid" "$first
$paid"
  trio_package 2.1; trio_install 2.1; expect_rc 0
  expect_new_trio
  expect_is 2 sh_ 'ls -d /var/lib/trio/backups/*/manifest.json | wc -l'
}

# Rows 33, 35 and 67.
fact "deb rpm" a_power_cut_in_the_second_of_three_databases_ends_with_all_three_new
a_power_cut_in_the_second_of_three_databases_ends_with_all_three_new() {
  trio_machine
  sql 'create table gate (open int); alter table gate owner to trio' trio_compute
  trio_files "$first
$paid" "$first
$paid
select pg_sleep(86400) where not exists (select from gate)" "$first
$paid"
  trio_package 2.0
  if [ "$family" = deb ]; then m dpkg -i /root/trio-2.0.deb >/dev/null 2>&1 & else m rpm -U /root/trio-2.0.rpm >/dev/null 2>&1 & fi
  wait_for 120 trio_waits
  expect_is t sql 'select count(paid) = 1 from one' trio_accounts
  # The statement that sleeps does not see it; when its turn comes again, it is there.
  sql 'insert into gate values (1)' trio_compute || fail "gate"
  "$lab" kill "$machine" >/dev/null 2>&1; wait
  "$lab" start "$machine" >/dev/null 2>&1 || fail "no boot"
  wait_for 200 trio_done
  if [ "$family" = deb ]; then run dpkg --configure -a; expect_rc 0; fi
  expect_new_trio
}
trio_waits() { [ "$(sql "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and datname = 'trio_compute'" postgres)" = 1 ]; }
trio_done() { [ "$(sql 'select count(paid) from one' trio_storage)" = 1 ] && ! m test -e /var/lib/trio/upgrade/pending; }
