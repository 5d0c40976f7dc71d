# Facts about hold, maintenance window and the guards of whole runs of apt and dnf.
# shellcheck shell=bash disable=SC2154

# harmless VERSION: a package of somebody else is offered in this version; 1.0 is installed too.
harmless() {
  if [ "$family" = deb ]; then
    sh_ "mkdir -p /root/site /root/h/DEBIAN; printf 'Package: harmless\nVersion: $1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: a\n' \
        > /root/h/DEBIAN/control; dpkg-deb -b /root/h /root/site/harmless_$1_all.deb
      cd /root/site; apt-ftparchive packages . > Packages; apt-ftparchive -o APT::FTPArchive::Release::Suite=lab release . > /tmp/R; mv /tmp/R Release
      [ $1 != 1.0 ] || dpkg -i harmless_1.0_all.deb" >/dev/null 2>&1 || fail "harmless $1"
  else
    sh_ "mkdir -p /root/site; printf 'Name: harmless\nVersion: $1\nRelease: 1\nSummary: a\nLicense: a\nBuildArch: noarch\n%%description\na\n%%files\n' > /root/h.spec
      rpmbuild -bb --define '_rpmdir /root/site' /root/h.spec; createrepo_c -q /root/site
      [ $1 != 1.0 ] || rpm -U /root/site/noarch/harmless-1.0-1*.rpm" >/dev/null 2>&1 || fail "harmless $1"
  fi
}
offer() { # offer VERSION: openwatch and what is harmless, both newer than what is installed
  use_repo "$1"
  if [ "$family" = deb ]; then
    sh_ "echo 'deb [trusted=yes] file:/root/site ./' > /etc/apt/sources.list.d/site.list; apt-get -qq update" || fail "offer"
  else sh_ "printf '[site]\nname=site\nbaseurl=file:///root/site\ngpgcheck=0\n' > /etc/yum.repos.d/site.repo" || fail "offer"; fi
}
the_whole_run() { # the_whole_run [NAME=VALUE]: the operator's one command, for everything there is
  if [ "$family" = deb ]; then run env "$@" apt-get -y upgrade; else run env "$@" dnf -y update; fi
}
expect_harmless() {
  if [ "$family" = deb ]; then expect_is "ii $1" m dpkg-query -W -f '${db:Status-Abbrev}${Version}' harmless
  else expect_is "$1" m rpm -q --qf '%{VERSION}' harmless; fi
}
expect_all_untouched() { expect_failure; expect_old_untouched; expect_harmless 1.0; }

# Rows 78 and 93.
fact "deb rpm" a_hold_refuses_the_whole_run_and_leaves_the_other_packages_whole
a_hold_refuses_the_whole_run_and_leaves_the_other_packages_whole() {
  old_machine; remember_all; harmless 1.0; harmless 2.0; offer 2.0.0
  run openwatch upgrade hold --until 2099-01-31 --reason audit; expect_rc 0
  the_whole_run
  expect_all_untouched; expect_out 'openwatch is not upgraded from 1\.0\.0.* to 2\.0\.0-1 now: it is held'
  expect_out 'until .*2099.*: audit'; expect_out 'OPENWATCH_NOW=1'
  if [ "$family" = deb ] && m test -x /usr/bin/unattended-upgrade; then
    sh_ "echo 'Unattended-Upgrade::Origins-Pattern { \"archive=lab\"; }; Unattended-Upgrade::MinimalSteps \"false\";' > /etc/apt/apt.conf.d/60lab"
    run unattended-upgrade -v; expect_all_untouched
    run cat /var/log/unattended-upgrades/unattended-upgrades-dpkg.log; expect_out 'it is held since .* until .*: audit'
    # In steps, as it does unless told otherwise, each package is a run of its own, in any order.
    sh_ "sed -i 's/ Unattended-Upgrade::MinimalSteps.*//' /etc/apt/apt.conf.d/60lab"
    run unattended-upgrade -v; expect_failure; expect_old_untouched
    expect_is '' m dpkg --audit
  fi
  if [ "$suite $family" = "sid rpm" ]; then
    run dnf5 -y --refresh update; expect_all_untouched; expect_out 'it is held'
  fi
  # The tools below them have no guard: the package itself says no.
  file_upgrade_to 2.0.0; expect_failure; expect_old_untouched; expect_out 'it is held'
  the_whole_run OPENWATCH_NOW=1
  expect_rc 0; expect_upgraded; expect_ready 2.0.0; expect_harmless 2.0
  run openwatch history; expect_out 'although held since .*: audit'
}

# Row 78.
fact "deb rpm" outside_the_window_and_with_a_failing_check_no_package_of_the_run_is_touched
outside_the_window_and_with_a_failing_check_no_package_of_the_run_is_touched() {
  old_machine; remember_all; harmless 1.0; harmless 2.0; offer 2.0.0
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; date -d '+3 days' '+window = \"%a 10:00-11:00\"' > /etc/openwatch/upgrade.conf.d/50-window.conf"
  the_whole_run
  expect_all_untouched; expect_out 'it is outside the maintenance window ... 10:00-11:00; it opens '
  sh_ "echo 'checks = [[\"/bin/false\"]]' > /etc/openwatch/upgrade.conf.d/50-window.conf"
  the_whole_run
  expect_all_untouched; expect_out 'the check /bin/false'
  sh_ "echo 'window = \"00:00-24:00\"' > /etc/openwatch/upgrade.conf.d/50-window.conf"
  the_whole_run
  expect_rc 0; expect_upgraded; expect_ready 2.0.0; expect_harmless 2.0
  # Without the program the guards are silent, and leave nothing behind that could ask for it.
  remove; harmless 3.0; offer 2.0.0; the_whole_run
  expect_rc 0; expect_harmless 3.0; expect_no_out openwatch
  expect_is '' sh_ 'ls /usr/lib/python3*/*-packages/dnf-plugins/openwatch_guard.py 2>/dev/null'
}

# Debian has what /usr/bin/dnf-automatic calls, and not that file; nor a package that names the release.
#
# Row 78.
whole_fact rpm an_unattended_run_of_dnf_is_refused_whole_while_a_hold_is_there
an_unattended_run_of_dnf_is_refused_whole_while_a_hold_is_there() {
  old_machine; remember_all; harmless 1.0; harmless 2.0; offer 2.0.0
  local by_itself='import sys, dnf.rpm; dnf.rpm.detect_releasever = lambda root: "12"
from dnf.automatic.main import main; sys.exit(main(["--installupdates"]))'
  run openwatch upgrade hold --reason audit; expect_rc 0
  run python3 -c "$by_itself"
  expect_all_untouched; expect_out 'it is held since .*: audit'
  run openwatch upgrade release; expect_rc 0
  run python3 -c "$by_itself"
  expect_rc 0; expect_upgraded; expect_ready 2.0.0; expect_harmless 2.0
}
