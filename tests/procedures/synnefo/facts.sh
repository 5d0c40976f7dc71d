# Facts about the procedure of Synnefo 0.16: three daemons in packages of their own, three databases with the
# real Django and Alembic, one host and three hosts.
# shellcheck shell=bash disable=SC2154,SC2016

synnefo=$here/../procedures/synnefo

# synnefo_files: what the machines need, once per run, in the directory that all of them see as /repo. Which
# Django they can run is asked of this one.
synnefo_files() {
  (
    flock 9
    [ ! -e "$repo/synnefo" ] || exit 0
    kind=$(m python3 -c 'import sys; print("python" if sys.version_info >= (3, 10) else "oldpython")') || exit 1
    python=$("$synnefo/mktools" "$kind") || exit 1
    cp -a "$python/modules" "$repo/python" && cp -a "$synnefo" "$repo/synnefo"
  ) 9> "$work/synnefo.lock" || fail "the modules of Django and Alembic are not there"
}

# synnefo_tree VERSION OVERLAYS...: /root/synnefo-VERSION, the files of a release.
synnefo_tree() {
  local version=$1 tree=/root/synnefo-$1 overlay; shift
  sh_ "mkdir -p $tree/usr/share/synnefo $tree/usr/lib/systemd/system
    cp -a /repo/synnefo/tree/. $tree/usr/share/synnefo/; echo $version-1 > $tree/usr/share/synnefo/version" || fail "tree $version"
  for overlay; do sh_ "cp -a /repo/synnefo/releases/$overlay/. $tree/usr/share/synnefo/" || fail "overlay $overlay"; done
  # The Alembic that runs on python3 before 3.10 has no --check-heads.
  sh_ "python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || sed -i -e '/--check-heads/s,\"-m\".*\],\"/repo/synnefo/check_heads.py\"],' \
    $tree/usr/share/synnefo/upgrade.conf" || fail "status command $version"
  sh_ "cd $tree/usr/lib/systemd/system
    sed -e 's/openwatch upgrade/openwatch --app synnefo upgrade/' -e 's/openwatch/synnefo/g' -e 's,/usr/bin/synnefo,/usr/bin/openwatch,' \
      /usr/lib/systemd/system/openwatch-upgrade.service > synnefo-upgrade.service
    for unit in web dispatcher events; do printf '%s\n' '[Unit]' 'AssertPathExists=|!/var/lib/synnefo/upgrade/pending' \
      'AssertPathExists=|/run/synnefo/gate-open' Wants=synnefo-upgrade.service 'After=synnefo-upgrade.service postgresql.service' \
      '[Service]' Type=notify User=synnefo LogsDirectory=synnefo EnvironmentFile=-/etc/synnefo/secrets.env \
      'Environment=PYTHONPATH=/repo/python PYTHONDONTWRITEBYTECODE=1' \"ExecStart=/usr/bin/python3 /usr/share/synnefo/daemon.py \$unit\" \
      '[Install]' WantedBy=multi-user.target > synnefo-\$unit.service; done" || fail "units $version"
}

# synnefo_debs VERSION [PACKAGES...]: all four, or these, in /root/pool/VERSION, which start their services when they are configured.
synnefo_debs() {
  local version=$1 name; shift
  m mkdir -p "/root/pool/$version"
  [ $# != 0 ] || set -- synnefo synnefo-web synnefo-dispatcher synnefo-events
  for name; do
    m sh -s "$version" "$name" < "$synnefo/mkdeb" || fail "$name $version"
  done
  sh_ "cd /root/pool/$version && apt-ftparchive packages . > Packages"
}
synnefo_repo() { # synnefo_repo VERSION: what the machine's package sources offer from now on
  sh_ "rm -rf /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] file:/root/pool/$1 ./' > /etc/apt/sources.list; apt-get -qq update" ||
    fail "apt-get update"
}
synnefo_sql() { sql "$2" "synnefo_$1"; } # synnefo_sql DATABASE SQL
synnefo_order() { sh_ 'tr "\n" " " < /var/log/synnefo/order; : > /var/log/synnefo/order'; }
synnefo_data() {
  local name; for name in accounts compute storage; do
    m runuser postgres -c "pg_dump synnefo_$name" | grep -vE '^\\(un)?restrict '
  done
}
synnefo_points() { # reason and databases of each restore point, oldest first
  m openwatch --app synnefo backup list --json | python3 -c 'import json, sys
for p in reversed(json.load(sys.stdin)["restore_points"]): print(p["reason"], *p["databases"])'
}

# synnefo_machine: 1.0 from its packages, in use, with a row in each database.
synnefo_machine() {
  old_machine; synnefo_files
  synnefo_tree 1.0; synnefo_debs 1.0; synnefo_repo 1.0
  sh_ "useradd --system synnefo; mkdir -p /etc/synnefo
    for name in accounts compute storage; do
      upper=\$(echo \$name | tr a-z A-Z); echo \"\${upper}_URL=postgresql:///synnefo_\$name?host=/run/postgresql\"
    done > /etc/synnefo/secrets.env; chmod 600 /etc/synnefo/secrets.env
    runuser postgres -c 'createuser --createdb synnefo; for n in accounts compute storage; do createdb -O synnefo synnefo_\$n; done'" ||
    fail "preparation"
  run apt-get -y install synnefo-web synnefo-dispatcher synnefo-events; expect_rc 0
  FACT_LIMIT=900 run openwatch --app synnefo migrate; expect_rc 0
  sh_ "echo 'restore_point_after = [\"migrate\"]' > /etc/synnefo/upgrade.conf"
  synnefo_sql accounts "insert into accounts_user (name) values ('ada')" || fail "data"
  synnefo_sql compute "insert into compute_server (name) values ('vm1')" || fail "data"
  synnefo_sql storage "insert into objects (name) values ('file')" || fail "data"
  run systemctl start synnefo-web.service synnefo-dispatcher.service synnefo-events.service; expect_rc 0
  synnefo_order >/dev/null
}
synnefo_is() { # synnefo_is STATE: of all three units
  local unit; for unit in web dispatcher events; do expect_is "$1" m systemctl is-active "synnefo-$unit.service"; done
}
expect_new_synnefo() {
  expect_is 'ada|0' synnefo_sql accounts 'select name, quota from accounts_user'
  expect_is 'vm1|small' synnefo_sql compute 'select name, flavor from compute_server'
  expect_is 'file|0' synnefo_sql storage 'select name, size from objects'
  expect_is none sh_ 'test -e /var/lib/synnefo/upgrade/pending && echo there || echo none'
  synnefo_is active
}

fact "deb" synnefo_three_daemons_stay_down_until_three_databases_are_new
synnefo_three_daemons_stay_down_until_three_databases_are_new() {
  synnefo_machine
  synnefo_tree 2.0 2.0; synnefo_debs 2.0; synnefo_repo 2.0
  # One of the packages alone would leave the set unequal: nothing of the run is unpacked.
  FACT_LIMIT=900 run apt-get -y install synnefo-web; expect_failure
  expect_out 'synnefo-web 2.0-1, but synnefo 1.0-1, synnefo-dispatcher 1.0-1, synnefo-events 1.0-1'
  expect_out 'no package of this run was unpacked'
  expect_is 1.0-1 m dpkg-query -W -f '${Version}' synnefo-web
  expect_is '' synnefo_order
  FACT_LIMIT=900 run apt-get -y upgrade; expect_rc 0
  expect_new_synnefo
  # Its package restarts the events daemon, and the gate keeps it down; web and dispatcher go down in this
  # order when all packages are in place. Web, then the dispatcher come up first.
  expect_is 'stopped events stopped web stopped dispatcher started web started dispatcher started events ' synnefo_order
  # The engine acted once for all four packages, after the first migrations.
  expect_is 2 sh_ 'ls /var/lib/synnefo/upgrade/history/*.json | wc -l'
  # The question about stale content types was not asked, and its answer is no.
  expect_is 1 synnefo_sql accounts "select count(*) from django_content_type where model = 'invitation'"
  run sh -c 'cat /var/lib/synnefo/upgrade/*.log'; expect_out 'Stale content types remain'; expect_no_out "Type 'yes'"
  expect_is 'upgrade accounts compute storage
after step accounts
after step compute
after step storage' synnefo_points
}

# Rows 32 and 35.
whole_fact "deb" synnefo_the_third_database_that_fails_puts_the_first_two_back
synnefo_the_third_database_that_fails_puts_the_first_two_back() {
  synnefo_machine
  sh_ "echo 'on_failure = \"restore\"' >> /etc/synnefo/upgrade.conf"
  local before; before=$(synnefo_data)
  synnefo_tree 2.0 2.0 broken; synnefo_debs 2.0; synnefo_repo 2.0
  FACT_LIMIT=900 run apt-get -y upgrade; expect_failure
  expect_out 'relation "nothing" does not exist'; expect_out 'putting the data back'
  [ "$(synnefo_data)" = "$before" ] || fail "data differs: $(diff <(echo "$before") <(synnefo_data) | head -n 20)"
  # Whoever starts them, packages or a person: they stay down.
  run deb-systemd-invoke start synnefo-web.service synnefo-dispatcher.service
  local unit; for unit in web dispatcher events; do expect_is '' sh_ "systemctl is-active synnefo-$unit.service | grep -x active"; done
  synnefo_tree 2.1 2.0; synnefo_debs 2.1; synnefo_repo 2.1
  FACT_LIMIT=900 run apt-get -y upgrade; expect_rc 0
  expect_new_synnefo
}

whole_fact "deb" synnefo_a_failure_says_which_database_is_where
synnefo_a_failure_says_which_database_is_where() {
  synnefo_machine
  synnefo_tree 2.0 2.0 broken; synnefo_debs 2.0; synnefo_repo 2.0
  FACT_LIMIT=900 run apt-get -y upgrade; expect_failure
  expect_out 'database synnefo_accounts at /run/postgresql is at the new schema'
  expect_out 'database synnefo_compute at /run/postgresql is at the new schema'
  expect_out 'database synnefo_storage at /run/postgresql is as before'
  expect_is 'upgrade accounts compute storage
after step accounts
after step compute' synnefo_points
}

whole_fact "deb" synnefo_packages_that_come_one_by_one_are_one_upgrade
synnefo_packages_that_come_one_by_one_are_one_upgrade() {
  synnefo_machine
  synnefo_tree 2.0 2.0; synnefo_debs 2.0
  # dpkg asks nobody before it unpacks: the gate is closed, and no database is touched.
  FACT_LIMIT=900 run dpkg -i /root/pool/2.0/synnefo-web_2.0.deb; expect_rc 0
  expect_out 'synnefo: waits: packages that must have one version do not'
  FACT_LIMIT=900 run dpkg -i /root/pool/2.0/synnefo_2.0.deb /root/pool/2.0/synnefo-events_2.0.deb; expect_rc 0
  expect_out 'synnefo: waits: .*but synnefo-dispatcher 1.0-1'
  expect_is 0 synnefo_sql compute "select count(*) from information_schema.columns where column_name = 'flavor'"
  run openwatch --app synnefo status; expect_out 'packages that must have one version do not'
  expect_out 'next: +Install version 2\.0-1 of synnefo-dispatcher too'
  FACT_LIMIT=900 run dpkg -i /root/pool/2.0/synnefo-dispatcher_2.0.deb; expect_rc 0
  expect_new_synnefo
}

# --- three hosts: accounts with the web server and the database server, compute, storage
at_host() { local machine=$machine; [ "$1" = accounts ] || machine=$machine-$1; shift; "$@"; } # at_host HOST CMD...
synnefo_unit() { case $1 in accounts) echo web ;; compute) echo dispatcher ;; storage) echo events ;; esac; }
synnefo_release() { # synnefo_release HOST VERSION OVERLAYS...: what the package sources of a host offer from now on
  local host=$1 version=$2; shift 2
  at_host "$host" synnefo_tree "$version" "$@"
  at_host "$host" m sh -s "$version" "$host" "$(synnefo_unit "$host")" < "$synnefo/mkkind" || fail "kind $host"
  at_host "$host" synnefo_debs "$version" synnefo "synnefo-$(synnefo_unit "$host")"
  at_host "$host" synnefo_repo "$version"
}

# synnefo_hosts: 1.0 in use on three machines with cables between them; the database server is on the first.
synnefo_hosts() {
  [ "${lab##*/}" = nspawn ] || { say "LEFT OUT: only nspawn lays cables"; exit 0; }
  local host unit net=0 table
  for host in accounts compute storage; do
    unit=$(synnefo_unit "$host"); at_host "$host" old_machine
    if [ "$host" = accounts ]; then
      synnefo_files
      m sh -s "$secret" < "$synnefo/mkserver" || fail "server"
    else
      net=$((net + 1))
      "$lab" link "$machine" "to-$host" "$machine-$host" to-accounts || fail "no cable to $host"
      sh_ "ip addr add 10.9.$net.1/24 dev to-$host && ip link set to-$host up" || fail "network"
      at_host "$host" sh_ "ip addr add 10.9.$net.2/24 dev to-accounts && ip link set to-accounts up && systemctl stop postgresql" || fail "network"
    fi
    synnefo_release "$host" 1.0
    at_host "$host" sh_ "useradd --system synnefo; mkdir -p /etc/synnefo; umask 077
      echo '${host^^}_URL=postgresql://synnefo:$secret@10.9.${net/#0/1}.1/synnefo_$host' > /etc/synnefo/secrets.env" || fail "secrets"
    FACT_LIMIT=900 at_host "$host" run apt-get -y install "synnefo-$unit"; expect_rc 0
    FACT_LIMIT=900 at_host "$host" run openwatch --app synnefo migrate; expect_rc 0
    case $host in accounts) table=accounts_user ;; compute) table=compute_server ;; storage) table=objects ;; esac
    synnefo_sql "$host" "insert into $table (name) values ('$host')" || fail "data"
    at_host "$host" run systemctl start "synnefo-$unit.service"; expect_rc 0
    at_host "$host" synnefo_order >/dev/null
  done
}

# synnefo_play HOSTS ARGS...: the play of contrib/ansible over these hosts, in this order.
synnefo_play() {
  local host ansible hosts=$1; shift
  ansible=$("$synnefo/mktools" ansible 2>> "$scratch/log") || fail "no Ansible"
  for host in $hosts; do
    printf "%s ansible_host=%s openwatch_packages='[\"synnefo\", \"synnefo-%s\"]'\n" \
      "$host" "$(at_host "$host" eval 'echo "$machine"')" "$(synnefo_unit "$host")"
  done > "$scratch/hosts.ini"
  printf '\n[all:vars]\nopenwatch_app=synnefo\nansible_connection=lab\nansible_become=false\nansible_python_interpreter=/usr/bin/python3\n' >> "$scratch/hosts.ini"
  printf '$ the play over %s %s\n' "$hosts" "$*" >> "$scratch/log"
  LAB_VERBS=$lab ANSIBLE_CONNECTION_PLUGINS=$synnefo/ansible/connection_plugins ANSIBLE_HOME=$scratch/ansible ANSIBLE_NOCOLOR=1 \
    ANSIBLE_REMOTE_TMP=/tmp/ansible timeout 900 "$ansible/bin/ansible-playbook" -i "$scratch/hosts.ini" \
    "$here/../../contrib/ansible/upgrade.yml" "$@" > "$scratch/out" 2>&1 < /dev/null; rc=$?
  out=$(cat "$scratch/out"); printf '%s\nstatus %s\n' "$out" "$rc" >> "$scratch/log"
}
synnefo_at() { at_host "$1" m dpkg-query -W -f '${Version}' synnefo; } # synnefo_at HOST
synnefo_began() { at_host "$1" sh_ 'ls /var/lib/synnefo/upgrade/history | sort | tail -n 1'; }

whole_fact "deb" synnefo_three_hosts_are_upgraded_one_after_the_other
synnefo_three_hosts_are_upgraded_one_after_the_other() {
  synnefo_hosts
  local host; for host in accounts compute storage; do synnefo_release "$host" 2.0 2.0; done
  synnefo_play "accounts compute storage" --check; expect_rc 0
  expect_out 'an upgrade can begin'; expect_no_out 'changed=[1-9]'
  for host in accounts compute storage; do
    expect_is 1.0-1 synnefo_at "$host"; expect_is '' at_host "$host" synnefo_order
  done
  synnefo_play "accounts compute storage"; expect_rc 0
  for host in accounts compute storage; do
    expect_is 2.0-1 synnefo_at "$host"
    expect_is "stopped $(synnefo_unit "$host") started $(synnefo_unit "$host") " at_host "$host" synnefo_order
  done
  expect_is 'accounts|0' synnefo_sql accounts 'select name, quota from accounts_user'
  expect_is 'compute|small' synnefo_sql compute 'select name, flavor from compute_server'
  expect_is 'storage|0' synnefo_sql storage 'select name, size from objects'
  [[ $(synnefo_began accounts) < $(synnefo_began compute) && $(synnefo_began compute) < $(synnefo_began storage) ]] || fail "not in order"
  "$lab" down "$machine-compute"; "$lab" down "$machine-storage"
}

whole_fact "deb" synnefo_the_second_host_that_fails_leaves_the_third_alone
synnefo_the_second_host_that_fails_leaves_the_third_alone() {
  synnefo_hosts
  synnefo_release accounts 2.0 2.0; synnefo_release storage 2.0 2.0 broken; synnefo_release compute 2.0 2.0
  synnefo_play "accounts storage compute"; expect_failure
  expect_out 'synnefo on storage is not upgraded'; expect_out 'relation .*nothing.* does not exist'
  expect_is 2.0-1 synnefo_at accounts; expect_is active m systemctl is-active synnefo-web.service
  expect_is '' at_host storage sh_ 'systemctl is-active synnefo-events.service | grep -x active'
  # The third host was not even asked.
  expect_is 1.0-1 synnefo_at compute; expect_is '' at_host compute synnefo_order
  expect_is active at_host compute m systemctl is-active synnefo-dispatcher.service
  expect_no_out 'compute +: ok=[1-9]'
  # The play does not go over a host whose upgrade is open; the next release mends it there.
  synnefo_play "accounts storage compute"; expect_failure; expect_out 'synnefo on storage is closed'
  synnefo_release storage 2.1 2.0
  FACT_LIMIT=900 at_host storage run apt-get -y upgrade; expect_rc 0
  synnefo_play "accounts storage compute"; expect_rc 0
  expect_is 2.1-1 synnefo_at storage; expect_is 2.0-1 synnefo_at compute
  expect_is 'compute|small' synnefo_sql compute 'select name, flavor from compute_server'
  "$lab" down "$machine-compute"; "$lab" down "$machine-storage"
}
