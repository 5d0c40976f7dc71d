# Facts about looking at what the machine's real package sources offer, before any upgrade.
# shellcheck shell=bash disable=SC2154

# What apt and dpkg, or rpm, know; the caches of dnf's metadata are its own affair.
package_state() {
  if [ "$family" = deb ]; then
    sh_ 'find /var/lib/apt /var/cache/apt /var/lib/dpkg -type f | sort | xargs sha256sum'
  else sh_ 'rpm -qa | sort; find /var/lib/rpm -type f ! -name "*-shm" | sort | xargs sha256sum'; fi
}
expect_looked_only() {
  expect_is "$before" package_state; expect_old_untouched
  expect_is '' sh_ 'ls -d /tmp/openwatch-* 2>/dev/null'
}

fact "deb rpm" what_the_repository_offers_is_shown_before_it_is_installed
what_the_repository_offers_is_shown_before_it_is_installed() {
  old_machine; remember_all
  use_repo 2.0.0; [ "$family" = deb ] || m dnf -y -q makecache
  before=$(package_state)
  run openwatch migrate --status --candidate; expect_rc 0
  expect_out 'pending +0006'; expect_out 'pending +0007'; expect_out 'version 1\.0\.0-1 is installed'
  expect_no_out 'unsandboxed'
  run openwatch preflight --candidate; expect_rc 0; expect_out 'an upgrade can begin'
  run openwatch upgrade --plan --candidate; expect_rc 0; expect_out '1\.0\.0-1 -> 2\.0\.0-1'
  run openwatch migrate --check --candidate; expect_rc 10
  expect_looked_only
}

fact "deb rpm" a_repository_without_a_newer_package_says_so
a_repository_without_a_newer_package_says_so() {
  old_machine; remember_all
  [ "$family" = deb ] || m dnf -y -q makecache
  before=$(package_state)
  run openwatch preflight --candidate; expect_rc 0; expect_out 'nothing newer than openwatch 1\.0\.0-1'
  expect_looked_only
}

fact deb a_held_package_is_said
a_held_package_is_said() {
  old_machine; remember_all
  use_repo 2.0.0; m apt-mark hold openwatch >/dev/null; before=$(package_state)
  run openwatch migrate --status --candidate; expect_rc 0
  expect_out 'held at 1\.0\.0-1'; expect_out 'pending +0007'
  expect_is "$before" package_state
}

fact rpm an_excluded_package_is_said
an_excluded_package_is_said() {
  old_machine; remember_all
  use_repo 2.0.0; m dnf -y -q makecache
  sh_ "echo 'excludepkgs=openwatch' >> /etc/dnf/dnf.conf"; before=$(package_state)
  run openwatch migrate --status --candidate; expect_rc 0
  expect_out 'held at 1\.0\.0-1'; expect_out 'pending +0007'
  expect_looked_only
}

fact "deb rpm" a_repository_that_is_away_is_refused
a_repository_that_is_away_is_refused() {
  old_machine; remember_all
  use_repo 2.0.0
  if [ "$family" = deb ]; then
    sh_ "sed -i 's,file:/repo,http://127.0.0.1:9/repo,' /etc/apt/sources.list
      cd /var/lib/apt/lists && for f in _repo_*; do mv \"\$f\" \"127.0.0.1:9\$f\"; done"
  else sh_ "sed -i 's,file:///repo/rpm,http://127.0.0.1:9/repo,' /etc/yum.repos.d/lab.repo"; fi
  before=$(package_state)
  run openwatch preflight --candidate; expect_rc 5; expect_out 'nothing was changed'
  expect_looked_only
}

# Only sid has the fifth dnf; there the fourth is set aside.
[ "$suite" != sid ] || fact rpm the_fifth_dnf_is_asked_as_well
the_fifth_dnf_is_asked_as_well() {
  old_machine; remember_all
  use_repo 2.0.0; sh_ 'rm /usr/bin/dnf; dnf5 -y -q makecache'; before=$(package_state)
  run openwatch migrate --status --candidate; expect_rc 0; expect_out 'pending +0007'
  expect_looked_only
}
