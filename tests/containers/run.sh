#!/bin/bash
# What:   runs the package tests of one suite, four machines at a time: they mostly wait. See ci/containers.
# Needs:  --lab VERBS --image IMAGE --packages DIR --suite NAME [--test REGEX] [--jobs N]
#         [--topics DIR] [--only TOPIC,TOPIC] [--whole]; root for nspawn.
# Result: `ok N - fact` lines and `N passed, N failed`; the machine's own words for each failure.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jobs=4 filter=. topics=$here/topics only='' whole=no
while [ $# -gt 0 ]; do case $1 in
  --lab) lab=$2 ;; --image) base_image=$2 ;; --packages) packages=$2 ;; --suite) suite=$2 ;;
  --test) filter=$2 ;; --jobs) jobs=$2 ;; --topics) topics=$2 ;; --only) only=,$2, ;;
  --whole) whole=yes; shift; continue ;;
  *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
esac; shift 2; done

# Four machines at a time write 2 GB; what is said of it in tests/support/postgres.rs holds here, too.
place=/tmp
free=$(df --output=avail /dev/shm 2>/dev/null | tail -n1)
[ "${free:-0}" -lt 8000000 ] || place=/dev/shm
work=$(mktemp -d "${TMPDIR:-$place}/openwatch-lab.XXXXXX")
export LAB_DIR=$work/machines; mkdir -p "$LAB_DIR"
run=$suite$$ repo=$work/repo
cleanup() { trap '' INT TERM; "$lab" gc; rm -rf --one-file-system "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

# shellcheck source=tests/containers/lib.sh
. "$here/lib.sh"
facts=()
fact() { # fact "deb rpm" NAME: a fact of the usual run
  local family
  [[ -z $only || $only = *,$topic_name,* ]] || return 0
  for family in $1; do facts+=("$family $2"); done
}
# The same for what takes minutes: only where the whole is asked for, or the fact by its name.
whole_fact() { [ "$whole$filter" = no. ] || fact "$@"; }
for topic in "$topics"/*.sh "$here"/../procedures/*/facts.sh; do
  [ -e "$topic" ] || continue
  topic_name=$(basename "$topic" .sh)
  [ "$topic_name" != facts ] || topic_name=$(basename "$(dirname "$topic")")
  # shellcheck disable=SC1090
  . "$topic"
done

begin() { # begin NAME FAMILY: a scratch directory and a machine name of its own
  family=$2 machine=$run-$1 scratch=$work/$1; mkdir -p "$scratch"; : > "$scratch/log"; out=; rc=0
  home_machine=$machine fact_number=$1
}

# --- signed repositories, and one machine per family that all facts about upgrades start from
mkdir -p "$repo/in" && cp "$packages"/openwatch[_-]*-1[._]* "$repo/in/"
( begin mk deb
  "$lab" up "$machine" "$base_image" -v "$repo:/repo" -v "$here/lab:/lab-tools:ro" >/dev/null &&
  m bash /lab-tools/mkrepo /repo && sh_ 'for tool in dpkg:deb rpm:rpm; do
    ! command -v ${tool%:*} >/dev/null || echo ${tool#*:}; done' > "$work/families"
  rc=$?; "$lab" down "$machine"; exit $rc ) || { echo "no repositories"; exit 1; }
# An EL image has no dpkg, so the facts about deb have no machine there.
mapfile -t families < "$work/families"
make_fixture() ( # 1.0.0 as an operator sets it up: user, database, password, first migration, start, data
  begin "fixture-$1" "$1"; fresh 1.0.0; tool install openwatch; [ "$rc" = 0 ] || fail "install"
  configure; run openwatch migrate; [ "$rc" = 0 ] || fail "first migrate"
  run systemctl start openwatch.service; [ "$rc" = 0 ] || fail "start"
  sql "create table customer_notes (id int primary key, note text); alter table customer_notes owner to openwatch;
    insert into customer_notes select i, md5(i::text) from generate_series(1, 20000) i" || fail "data"
  "$lab" save "$machine" "fixture-$1-$run" > "$work/image-$1" )
configure() { # what the operator does once, by hand
  # Through a file: the journal keeps the arguments of whoever logs, and su does.
  sh_ "echo \"create role openwatch login createdb password '$secret'\" > /tmp/role.sql
    su postgres -c 'psql -qf /tmp/role.sql'; rm /tmp/role.sql" || fail "role"
  sql 'create database openwatch owner openwatch' postgres || fail "database"
  sh_ "echo 'OPENWATCH_DATABASE_DSN=postgresql://openwatch:$secret@127.0.0.1/openwatch' > /etc/openwatch/secrets.env" ||
    fail "secrets"
}
chosen=() nowhere=0; declare -A wanted=()
for entry in "${facts[@]}"; do
  [[ $entry =~ $filter ]] || continue
  family=${entry%% *}
  if [[ " ${families[*]} " == *" $family "* ]]; then chosen+=("$entry") wanted[$family]=yes; else nowhere=$((nowhere + 1)); fi
done
for family in "${!wanted[@]}"; do make_fixture "$family" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || { echo "no fixture:"; cat "$work"/fixture-*/log; exit 1; }; done

# --- the facts, a few machines at a time
one() ( # one NUMBER FAMILY FACT
  begin "$1" "$2"
  local started=${EPOCHREALTIME/./} ms
  ( "$3" && expect_no_secret ) 2>>"$scratch/log"; status=$?
  mapfile -t others 2>/dev/null < "$scratch/machines"
  if [ $status != 0 ]; then
    for other in "${others[@]}"; do
      { echo "--- $other"; cat "$scratch/${other##*-}/log"
        "$lab" x "$other" journalctl --no-pager -q -b -o short-precise -u 'openwatch*' | tail -n 40; } >> "$scratch/log" 2>&1
    done
    { echo "--- journal"; m journalctl --no-pager -q -b -o short-precise -u 'openwatch*' | tail -n 40; } >> "$scratch/log" 2>&1
  fi
  for other in "$machine" "${others[@]}"; do "$lab" down "$other" >/dev/null 2>&1; done
  ms=$(((${EPOCHREALTIME/./} - started) / 1000))
  printf '%s %d.%d\n' "$status" $((ms / 1000)) $((ms % 1000 / 100)) > "$scratch/.result"
  mv "$scratch/.result" "$scratch/result" )

number=0 passed=0 failed=0
report() { # report NUMBER: prints a fact that has ended
  local family name status seconds
  read -r family name <<<"${chosen[$1]}"; read -r status seconds < "$work/$1/result"
  name="$suite $family: ${name//_/ } (${seconds} s)"
  if [ "$status" = 0 ]; then passed=$((passed + 1)); echo "ok $(($1 + 1)) - $name"; cat "$work/$1/said" 2>/dev/null
  else failed=$((failed + 1)); echo "not ok $(($1 + 1)) - $name"; sed 's/^/    /' "$work/$1/log"; fi
  reported[$1]=1
}
reported=()
[ $nowhere = 0 ] || echo "$suite: $nowhere facts LEFT OUT: this image has only the package tools of ${families[*]}"
echo "1..${#chosen[@]}"
while :; do
  for i in "${!chosen[@]}"; do
    [ -z "${reported[$i]:-}" ] && [ -e "$work/$i/result" ] && report "$i"
  done
  [ $((passed + failed)) -lt ${#chosen[@]} ] || break
  if [ $number -lt ${#chosen[@]} ] && [ $((number - passed - failed)) -lt "$jobs" ]; then
    # shellcheck disable=SC2086
    one $number ${chosen[$number]} & number=$((number + 1))
  else
    wait -n || sleep 0.1
  fi
done
echo "$suite: $passed passed, $failed failed"
[ "$failed" = 0 ]
