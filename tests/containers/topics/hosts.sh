# Facts about several hosts that share one database, each a machine of its own on one network.
# shellcheck shell=bash disable=SC2154

whole_fact "deb" machines_of_one_fact_reach_each_other_and_nobody_else
machines_of_one_fact_reach_each_other_and_nobody_else() {
  local n
  for n in 1 2; do host_up $n "$(cat "$work/image-$family")"; done
  # A pattern restarts only what the manager has loaded by then.
  on 1 wait_for 60 m pg_isready -q
  on 1 share_database
  on 2 wait_for 120 m pg_isready -qh "$(address 1)"
  # A network namespace outlives a reboot.
  on 2 reboot
  on 2 m pg_isready -qh "$(address 1)" || fail "not reached after a reboot"
  expect_is "" on 2 m ip route show default
}

# join_hosts COUNT: host 1 has the server; all run 1.0.0 on its database.
join_hosts() {
  local n coming=()
  for n in $(seq "$1"); do host_up "$n" "$(cat "$work/image-$family")" & coming+=($!); done
  for n in $(seq "$1"); do wait "${coming[n - 1]}" || fail "host $n does not come up"; done
  on 1 share_database
  for n in $(seq "$1"); do
    on "$n" sh_ "echo 'OPENWATCH_DATABASE_DSN=postgresql://openwatch:$secret@$(address 1)/openwatch' > /etc/openwatch/secrets.env
      mkdir -p /etc/openwatch/upgrade.conf.d; echo 'host_wait = \"10min\"
lock_timeout = \"5min\"' > /etc/openwatch/upgrade.conf.d/50-hosts.conf
      [ $n = 1 ] || systemctl disable -q --now postgresql.service 'postgresql@*'
      systemctl restart openwatch.service" || fail "host $n does not join"
    on "$n" wait_for 60 http /readyz
  done
}
host_waits() { on "$1" sh_ "journalctl -q -b -u openwatch-upgrade.service | grep -q 'another host upgrades database'"; }
all_wait_but_one() { # COUNT
  local n count=0; for n in $(seq "$1"); do ! host_waits "$n" || count=$((count + 1)); done; [ $count = $(($1 - 1)) ]
}

hosts_upgrade_at_once() { # COUNT
  local n holder='' all=0
  join_hosts "$1"; on 1 hold_migrations
  for n in $(seq "$1"); do ( on "$n" upgrade_to 2.0.0; echo "$rc" > "$work/$fact_number/h$n/ended" ) & done
  wait_for 240 all_wait_but_one "$1"
  for n in $(seq "$1"); do host_waits "$n" || holder=$n; done
  for n in $(seq "$1"); do
    [ "$n" != "$holder" ] || continue
    on "$n" run journalctl -q -b -u openwatch-upgrade.service
    grep -q "on host$holder" "$scratch/h$n/out" || fail "host $n does not name host$holder as the holder"
    on "$n" expect_mark there
  done
  on 1 let_go; wait
  for n in $(seq "$1"); do
    [ "$(cat "$work/$fact_number/h$n/ended")" = 0 ] || fail "host $n ended with $(cat "$work/$fact_number/h$n/ended")"
    on "$n" expect_mark none; on "$n" wait_for 60 http /readyz; on "$n" expect_ready 2.0.0
  done
  on 1 expect_schema 0007
  # One migrated, so one restore point was taken.
  for n in $(seq "$1"); do all=$((all + $(on "$n" points))); done
  [ $all = 1 ] || fail "$all restore points were taken"
  on "$holder" expect_points 1
}

late_upgrade() { # a service that the gate kept out did not run, and what did not run is not started
  upgrade_to 2.0.0; expect_rc 0; expect_mark none; expect_points 0
  run systemctl start openwatch.service; expect_rc 0
  wait_for 60 http /readyz; expect_ready 2.0.0
}

# Rows 5 and 41.
fact "deb" of_two_hosts_one_migrates_and_a_late_one_with_the_old_program_is_kept_out
of_two_hosts_one_migrates_and_a_late_one_with_the_old_program_is_kept_out() {
  hosts_upgrade_at_once 2
  # It was away while the others went on.
  host_up 3 "$(cat "$work/image-$family")"
  on 3 sh_ "echo 'OPENWATCH_DATABASE_DSN=postgresql://openwatch:$secret@$(address 1)/openwatch' > /etc/openwatch/secrets.env
    systemctl restart openwatch.service"
  on 3 wait_for 60 sh_ '! systemctl -q is-active openwatch.service'
  on 3 run openwatch gate
  grep -q '0007' "$scratch/h3/out" || fail "the gate does not name the schema"
  on 3 run systemctl status openwatch.service
  grep -qE 'Install version 2.0.0(-1)? or newer' "$scratch/h3/out" || fail "its status does not say what to do"
  on 1 expect_ready 2.0.0
  # What it is told to do is not refused: what moved the schema on is what comes.
  on 3 late_upgrade
  on 1 expect_schema 0007; on 1 expect_ready 2.0.0
}

# Row 41.
whole_fact "deb" of_five_hosts_one_migrates_and_the_others_start_after_it
of_five_hosts_one_migrates_and_the_others_start_after_it() { hosts_upgrade_at_once 5; }
