# Chapter 1 of docs/PROCEDURES.md: what the package's own facts do not say already, which is the upgrade over two
# releases at once, and the way back to either.
# shellcheck shell=bash disable=SC2154

expect_release() { # VERSION SCHEMA: program, schema, service and gate agree
  expect_installed "$1"; expect_schema "$2"; expect_mark none; expect_ready "$1"
}

fact "deb rpm" an_upgrade_over_two_releases_at_once_goes_through_and_back
an_upgrade_over_two_releases_at_once_goes_through_and_back() {
  old_machine; remember_data
  upgrade_to 3.0.0; expect_rc 0; expect_release 3.0.0 0008; expect_points 1
  run openwatch rollback --yes; expect_rc 0
  expect_release 1.0.0 0005; expect_same_data
}

# roll_back_to VERSION: with its package at hand, which a source of the newest version only does not have.
roll_back_to() {
  local dir=rpm; [ "$family" != deb ] || dir=apt
  run sh -c "openwatch rollback --yes --to $1 --package /repo/$dir/$1/openwatch[_-]$1-1[._]*"
  expect_rc 0; expect_out "back at version $1"
}

# old_machine, 2.0.0, 3.0.0: two upgrades one after the other, with their restore points.
third_release() {
  old_machine; remember_data; cp "$scratch/data" "$scratch/data.1"
  upgrade_to 2.0.0; expect_rc 0; expect_release 2.0.0 0007; remember_data
  upgrade_to 3.0.0; expect_rc 0; expect_release 3.0.0 0008; expect_points 2
}

whole_fact "deb rpm" from_the_third_release_the_way_back_leads_to_the_second
from_the_third_release_the_way_back_leads_to_the_second() {
  third_release
  roll_back_to 2.0.0
  expect_release 2.0.0 0007; expect_same_data
}

whole_fact "deb rpm" from_the_third_release_the_way_back_leads_to_the_first
from_the_third_release_the_way_back_leads_to_the_first() {
  third_release
  roll_back_to 1.0.0
  cp "$scratch/data.1" "$scratch/data"
  expect_release 1.0.0 0005; expect_same_data
}
