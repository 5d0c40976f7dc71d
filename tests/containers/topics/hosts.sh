# Several hosts that share one database.
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
