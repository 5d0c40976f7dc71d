# What:   what the package tests are written in: machines, package tools, expectations. Sourced.
# Needs:  run.sh beside it, which sets lab, base_image, repo, work; a fact sets nothing outside itself.
# Result: a fact that holds returns 0; one that does not ends its subshell with the reason.
# shellcheck shell=bash disable=SC2154

# --- machines --------------------------------------------------------------------------------

# fresh: a machine with PostgreSQL and the package sources, without openwatch.
fresh() {
  boot "$base_image"; use_repo "${1:-1.0.0}"
  # Distributions of rpms have one /usr, where bullseye's systemd looks for generators in a /lib of its own.
  [ "$family" = deb ] || sh_ '[ -L /lib ] || ln -s ../../../usr/lib/systemd/system-generators/openwatch-generator /lib/systemd/system-generators/'
}

# old_machine: openwatch 1.0.0 installed by this family's tool, configured, migrated, running, with data.
old_machine() { boot "$(cat "$work/image-$family")"; }

boot() { # boot IMAGE [OPTION...]
  "$lab" up "$machine" "$1" -v "$repo:/repo:ro" "${@:2}" >"$scratch/boot" 2>&1 || fail "no boot: $(cat "$scratch/boot")"
}
reboot() { "$lab" reboot "$machine" >/dev/null 2>&1; }
m() { timeout -k 5 "${FACT_LIMIT:-300}" "$lab" x "$machine" "$@"; }   # run there; nothing may hang
sh_() { m sh -c "$1"; }                    # run a line of shell there
run() { # run CMD...: there, with output in $out and status in $rc
  printf '$ %s\n' "$*" >> "$scratch/log"
  m "$@" > "$scratch/out" 2>&1 </dev/null; rc=$?
  out=$(<"$scratch/out"); printf '%s\nstatus %s\n' "$out" "$rc" >> "$scratch/log"
}
# Not with su: each of its sessions is one of logind's, with a service manager of the user's own.
sql() { m runuser postgres -c "psql -XqAt -v ON_ERROR_STOP=1 ${2:-openwatch} -c \"$1\""; }
wait_for() { # wait_for SECONDS CMD...: until it succeeds
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || fail "did not become true: $*"; sleep 0.1; done
}

# Several machines on one network of this fact. Each word goes to one of them: `on 2 upgrade_to 2.0.0`.
# They do not share what `run` leaves in $out, $rc and $scratch/log where they are put into the background.
host_machine() { echo "$home_machine-h$1"; }
address() { echo "10.77.$((fact_number % 250)).$1"; }   # address N: where machine N is, for all others
host_up() { # host_up N IMAGE: machine N (1-250), which calls itself hostN
  local machine scratch=$scratch/h$1
  machine=$(host_machine "$1"); mkdir -p "$scratch"; echo "$machine" >> "$work/$fact_number/machines"
  boot "$2" --net "$home_machine:$(address "$1")"
  sh_ "echo host$1 > /etc/hostname; hostname host$1"
}
# The method md5 takes either kind of password; before version 14 a server stores no other kind by itself.
share_database() { # the server of this machine answers all machines of the fact
  sh_ "for cluster in /etc/postgresql/*/main; do
      echo \"listen_addresses = '*'\" >> \$cluster/postgresql.conf
      echo 'host all all 10.77.0.0/16 md5' >> \$cluster/pg_hba.conf
    done; systemctl restart 'postgresql@*'" || fail "the database is not shared"
}
on() { # on N WORD...: with a log, an $out and an $rc of its own
  local machine scratch=$scratch/h$1; machine=$(host_machine "$1"); "${@:2}"
}

# --- packages --------------------------------------------------------------------------------

use_repo() { # use_repo VERSION: what the machine's package sources offer from now on
  if [ "$family" = deb ]; then
    sh_ "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d; mkdir -p /etc/apt/sources.list.d
      echo 'deb [signed-by=/repo/key.asc] file:/repo/apt/$1 ./' > /etc/apt/sources.list
      apt-get -qq update" || fail "apt-get update"
  else
    sh_ "mkdir -p /etc/yum.repos.d; rpm --import /repo/key.asc; rm -rf /var/cache/dnf
      printf '[lab]\nname=lab\nbaseurl=file:///repo/rpm/$1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file:///repo/key.asc\n' \
        > /etc/yum.repos.d/lab.repo" || fail "dnf repository"
  fi
}
tool() { if [ "$family" = deb ]; then run apt-get -y "$@"; else run dnf -y "$@"; fi; }
install() { use_repo "$1"; tool install openwatch; }
upgrade_to() { # the one command of the operator
  use_repo "$1"
  if [ "$family" = deb ]; then run apt-get -y upgrade; else run dnf -y update; fi
}
file_upgrade_to() { # the same from a file
  if [ "$family" = deb ]; then run sh -c "dpkg -i /repo/apt/$1/openwatch_$1-1_*.deb"
  else run sh -c "rpm -U /repo/rpm/$1/openwatch-$1-1.*.rpm"; fi
}
reinstall() {
  if [ "$family" = deb ]; then tool install --reinstall openwatch; else tool reinstall openwatch; fi
}
retry_package() { if [ "$family" = deb ]; then run dpkg --configure -a; else run dnf -y reinstall openwatch; fi; }
remove() { tool remove openwatch; }
installed() { # VERSION and, on deb, the state
  if [ "$family" = deb ]; then m dpkg-query -W -f '${db:Status-Abbrev}${Version}' openwatch
  else m rpm -q --qf 'ii %{VERSION}-%{RELEASE}' openwatch; fi
}

# --- what is true ----------------------------------------------------------------------------

say() { printf '    %s\n' "$*" >> "$scratch/said"; }   # shown beside a fact that holds
fail() { printf 'because %s\n' "$*" >> "$scratch/log"; exit 1; }
expect_rc() { [ "$rc" = "$1" ] || fail "status is $rc, not $1"; }
expect_failure() { [ "$rc" != 0 ] || fail "status is 0"; }
expect_out() { grep -qE -- "$1" <<<"$out" || fail "output does not say /$1/"; }
expect_no_out() { ! grep -qE -- "$1" <<<"$out" || fail "output says /$1/"; }
expect_is() { local got; got=$("${@:2}" 2>&1); [ "$got" = "$1" ] || fail "${*:2} says '$got', not '$1'"; }
expect_installed() { expect_is "${2:-ii} $1-1" installed; }
expect_service() { expect_is "$1" m systemctl is-active openwatch.service; }
expect_schema() { expect_is "$1" schema; }
expect_mark() { expect_is "$1" sh_ 'test -e /var/lib/openwatch/upgrade/pending && echo there || echo none'; }
expect_points() { expect_is "$1" points; }
expect_ready() { # the running program is the installed one, and its schema is right
  expect_service active
  expect_out_of 200 "$(http /readyz)"; expect_out_of "$1" "$(http /version)"
}
expect_out_of() { grep -q -- "$1" <<<"$2" || fail "'$2' does not say $1"; }
http() { m python3 -c "import urllib.request as u
r=u.urlopen('http://127.0.0.1:8480$1',timeout=5); print(r.status, r.read().decode())" 2>&1; }
schema() { sql 'select max(version) from openwatch_schema_history'; }
points() { sh_ 'ls -d /var/lib/openwatch/backups/*/manifest.json 2>/dev/null | wc -l'; }
stray_points() { sh_ 'ls -A /var/lib/openwatch/backups | grep -c "^\.partial-\|^\.tmp" || :'; }
main_pid() { m systemctl show -P MainPID openwatch.service; }

# All data as a dump, without what differs from run to run: restriction tokens, and the rows that the
# running service itself writes about its host and its upgrades.
data() {
  local table without=
  for table in 'hosts*' health_samples 'upgrade_reports*' restore_points_seen; do
    without+=" --exclude-table-data='$table'"
  done
  m runuser postgres -c "pg_dump --no-comments$without openwatch" | grep -vE '^\\(un)?restrict '
}
remember_data() { data > "$scratch/data"; [ -s "$scratch/data" ] || fail "no data"; }
expect_same_data() { data > "$scratch/data.now"; cmp -s "$scratch/data" "$scratch/data.now" ||
  fail "data differs: $(diff "$scratch/data" "$scratch/data.now" | head -n 20)"; }
expect_old_untouched() { # a refusal changed nothing: program, service, data, mark, restore points
  expect_installed 1.0.0; expect_service active; expect_is "$pid" main_pid
  expect_schema 0005; expect_same_data; expect_mark none; expect_points 0; expect_is 0 stray_points
}
remember_all() { remember_data; pid=$(main_pid); }

# Nothing that we write may hold the planted password, whatever a fact was about.
secret=planted-Pa55
expect_no_secret() {
  m systemctl is-system-running >/dev/null 2>&1 || [ -n "$(m echo up 2>/dev/null)" ] || return 0
  local found
  found=$(sh_ "journalctl --no-pager -o export 2>/dev/null | grep -a -c '$secret'
    grep -rlas --exclude='secrets.env*' --exclude-dir=backups -- '$secret' /var/lib/openwatch /var/log /run/openwatch /tmp /etc" | grep -v '^0$')
  [ -z "$found" ] || fail "the planted password is in: $found"
  ! grep -q -- "$secret" "$scratch/out" 2>/dev/null || fail "the planted password was printed"
}
