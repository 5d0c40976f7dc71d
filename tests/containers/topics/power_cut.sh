# Facts about machines that lose power in the middle of an upgrade, at moments that nobody chose.
# POWER_CUTS=N says how many moments (1), POWER_CUT_SEED=N which ones (1): both are printed.
# shellcheck shell=bash disable=SC2154

cuts=${POWER_CUTS:-1} cut_seed=${POWER_CUT_SEED:-1}

new_machine() { "$lab" down "$machine" >/dev/null 2>&1; old_machine; use_repo 2.0.0; }
milliseconds() { local now=${EPOCHREALTIME/[.,]/}; echo $((now / 1000)); }
# The one command of the operator, without waiting here for its words.
the_upgrade() {
  if [ "$family" = deb ]; then m apt-get -y upgrade; else m sh -c 'rpm -U /repo/rpm/2.0.0/openwatch-2.0.0-1.*.rpm'; fi
}
program_version() { sh_ 'sed "s/-.*//" /usr/share/openwatch/version'; }

# The service runs with the schema that its program was built for, or not at all.
expect_no_program_on_the_wrong_schema() {
  [ "$(m systemctl is-active openwatch.service)" = active ] || return 0
  local running schema
  running=$(http /version) schema=$(schema)
  case "$running $schema" in
    *1.0.0*0005 | *2.0.0*0007) ;;
    *) fail "the service runs on schema $schema and says $running" ;;
  esac
}

# All data but for the history, whose rows tell when and by which restore point.
rows() {
  m runuser postgres -c "pg_dump --no-comments --exclude-table-data='host*' --exclude-table-data=health_samples \
    --exclude-table-data=upgrade_reports* --exclude-table-data=restore_points_seen \
    --exclude-table-data=openwatch_schema_history openwatch" | grep -vE '^\\(un)?restrict |pg_catalog.setval'
}

# What a person does after a power cut: the package tool's own repair, and the upgrade again.
finish_the_packages() {
  if [ "$family" = deb ]; then
    run dpkg --configure -a; [ "$rc" = 0 ] || run apt-get -y -f install
    run apt-get -y upgrade
  else
    run sh -c 'rpm -U --replacepkgs /repo/rpm/2.0.0/openwatch-2.0.0-1.*.rpm'
  fi
}

cut_at() { # cut_at MS: an upgrade, a power cut so long after its begin, and what is true afterwards
  local at=$1 state by=boot
  new_machine
  the_upgrade >"$scratch/upgrade" 2>&1 </dev/null &
  sleep "$((at / 1000)).$(printf %03d $((at % 1000)))"
  "$lab" kill "$machine"; wait $!
  { echo "--- cut after $at ms, the upgrade had said:"; cat "$scratch/upgrade"; } >>"$scratch/log"
  "$lab" start "$machine" >>"$scratch/log" 2>&1
  wait_for 60 sql 'select 1'
  expect_no_program_on_the_wrong_schema
  rows > "$scratch/data.now"
  if cmp -s "$scratch/data.now" "$scratch/data.old"; then state=old
  elif cmp -s "$scratch/data.now" "$scratch/data.new"; then state=new
  else fail "after $at ms the data is neither old nor new: $(diff "$scratch/data.new" "$scratch/data.now" | head -n 20)"; fi
  if ! [ "$(m systemctl is-active openwatch.service) $(program_version) $(installed)" = 'active 2.0.0 ii 2.0.0-1' ]; then
    finish_the_packages; by="the package tool"
    [ "$rc" = 0 ] || fail "after $at ms the packages cannot be finished"
  fi
  expect_installed 2.0.0; expect_schema 0007; expect_mark none; expect_ready 2.0.0
  rows > "$scratch/data.now"
  cmp -s "$scratch/data.now" "$scratch/data.new" || fail "after $at ms it ends with other data: $(diff "$scratch/data.new" "$scratch/data.now" | head -n 20)"
  expect_is 20000 sql 'select count(*) from customer_notes'
  # The run of the boot may still prove health.
  wait_for 60 sh_ 'test "$(systemctl is-active openwatch-upgrade.service)" = inactive'
  run sh -c 'for point in $(cd /var/lib/openwatch/backups && ls -d [0-9]*/manifest.json 2>/dev/null); do
    openwatch backup verify "${point%%/*}" || exit 1; done'
  expect_rc 0
  say "cut after $at ms: $state data at boot, finished by $by"
}

# Rows 67, 68 and 71.
fact "deb rpm" a_power_cut_at_any_moment_of_an_upgrade_is_recovered_from
a_power_cut_at_any_moment_of_an_upgrade_is_recovered_from() {
  local began length cut FACT_LIMIT=300
  new_machine; rows > "$scratch/data.old"
  began=$(milliseconds); the_upgrade >>"$scratch/log" 2>&1 </dev/null || fail "the upgrade without a cut"
  length=$(($(milliseconds) - began))
  expect_ready 2.0.0; rows > "$scratch/data.new"
  RANDOM=$cut_seed
  say "seed $cut_seed, $cuts cuts in an upgrade of $length ms"
  for cut in $(seq "$cuts"); do
    say "moment $cut of $cuts"
    cut_at $(((RANDOM * 32768 + RANDOM) % length))
  done
}
