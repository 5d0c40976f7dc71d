# Facts about restore points by the clients of other majors than the developer's, and on storage that
# shares what it copies.
# shellcheck shell=bash disable=SC2154,SC2016

# take: a restore point of what is there; its name is left in $point.
take() {
  run openwatch --json backup create; expect_rc 0
  point=$(sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' <<<"$out" | head -n 1)
  [ -n "$point" ] || fail "no restore point in: $out"
}
told() { # told KEY: what the manifest of $point says of the archive
  sh_ "sed -n 's/.*\"$1\": *\"\\{0,1\\}\\([^\",]*\\).*/\\1/p' /var/lib/openwatch/backups/$point/manifest.json | tail -n 1"
}
# clients_that SHELL: every pg_dump runs this first, with its arguments.
clients_that() {
  sh_ "for f in /usr/lib/postgresql/*/bin/pg_dump; do [ -e \$f.real ] || mv \$f \$f.real
    printf '#!/bin/sh\n%s\nexec %s.real \"\$@\"\n' '$1' \$f > \$f; chmod 755 \$f; done"
}
clients_as_they_are() { sh_ 'for f in /usr/lib/postgresql/*/bin/pg_dump; do [ ! -e $f.real ] || mv $f.real $f; done'; }

# brings_back COMPRESSION: a point is taken with it, read back, loaded beside, put back, and the data compared.
brings_back() {
  local rows bytes
  rows=$(sql 'select count(*) from customer_notes')
  take
  expect_is "$1" told compression
  bytes=$(told archive_bytes)
  run openwatch backup verify "$point"; expect_rc 0
  run openwatch backup verify --restore "$point"; expect_rc 0
  sql 'delete from customer_notes where id % 2 = 0; drop table if exists measured_since;
    create table measured_since as select 1; alter table measured_since owner to openwatch' >/dev/null || fail "change"
  run openwatch restore "$point" --yes; expect_rc 0
  expect_is "$rows" sql 'select count(*) from customer_notes'
  expect_same_data
  say "$2: $bytes bytes"
}

# Of clients before 16 no build knows more than gzip, which every other suite shows.
case $suite in *bullseye* | *bookworm*) ;; *)
  whole_fact deb points_of_every_compression_are_read_back_restored_and_compared ;;
esac
points_of_every_compression_are_read_back_restored_and_compared() {
  old_machine; remember_data
  run systemctl stop openwatch.service; expect_rc 0
  brings_back zstd:1 'zstd, as the client was built'
  local refuse='for a; do case $a in --compress=METHOD*) echo "pg_dump: error: this build does not support compression with METHOD" >&2; exit 1;; esac; done'
  clients_that "${refuse//METHOD/zstd}"
  brings_back lz4 'lz4, from a client without zstd'
  clients_that "for a; do case \$a in --compress=zstd* | --compress=lz4*) echo \"pg_dump: error: this build does not support compression with it\" >&2; exit 1;; esac; done"
  brings_back gzip:1 'gzip, compressed here while the client writes'
  # Whatever the client made of the wish: its archive says what it is, and is read as that.
  clients_that 'for a; do shift; case $a in --compress=*/*) ;; --compress=*) a=--compress=0;; esac; set -- "$@" "$a"; done'
  brings_back zstd:1 'none, by a client that compresses nothing'
  clients_as_they_are
  # No byte of such an archive has a checksum of its own.
  sh_ "file=\$(find /var/lib/openwatch/backups/$point -name '*.dat' -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
    cp \$file /root/kept; printf x | dd of=\$file bs=1 seek=1000 conv=notrunc" 2>/dev/null || fail "no plain member"
  run openwatch backup verify "$point"; expect_failure; expect_out 'damaged|differs|changed'
  sh_ "cp /root/kept \$(find /var/lib/openwatch/backups/$point -name '*.dat' -size \$(stat -c %s /root/kept)c | head -n 1)
    rm -f /var/lib/openwatch/backups/$point/damaged"
  # All four are whole beside each other.
  run openwatch backup verify; expect_rc 0
}

whole_fact deb five_thousand_tables_come_back
five_thousand_tables_come_back() {
  old_machine
  run systemctl stop openwatch.service; expect_rc 0
  # Not more of them at once than a server has room for locks.
  m sh -c 'cat > /tmp/make.sql' <<'SQL'
set role openwatch;
create schema many;
do $$ begin for i in 1 .. 5000 loop
  execute format('create table many.t%s as select %s as i', i, i);
  if i % 1000 = 0 then commit; end if;
end loop; end $$;
SQL
  m sh -c 'cat > /tmp/count.sql' <<'SQL'
select count(*), sum((xpath('/row/i/text()',
    query_to_xml(format('select i from many.%I', relname), false, true, '')))[1]::text::int)
  from pg_class where relnamespace = 'many'::regnamespace;
SQL
  run runuser postgres -c 'psql -Xqv ON_ERROR_STOP=1 -f /tmp/make.sql openwatch'; expect_rc 0
  expect_is '5000|12502500' m runuser postgres -c 'psql -XqAtf /tmp/count.sql openwatch'
  take
  sql 'drop table many.t4999; truncate many.t17, many.t2500' >/dev/null || fail "change"
  run openwatch restore "$point" --yes --no-copy; expect_rc 0
  expect_is '5000|12502500' m runuser postgres -c 'psql -XqAtf /tmp/count.sql openwatch'
}

# A client 18 beside a server 15: real ones, of two releases of Debian. It runs by its own loader.
client_18() {
  sh_ 'mkdir -p /usr/lib/postgresql/18/bin
    for name in pg_dump pg_restore; do
      printf "#!/bin/sh\nexec %s --library-path %s %s \"\$@\"\n" /sid/usr/lib64/ld-linux-x86-64.so.2 \
        /sid/usr/lib/x86_64-linux-gnu /sid/usr/lib/postgresql/18/bin/$name > /usr/lib/postgresql/18/bin/$name
      chmod 755 /usr/lib/postgresql/18/bin/$name
    done; /usr/lib/postgresql/18/bin/pg_dump --version'
}
# Row 26.
[ "$suite" != bookworm ] || [ "${lab##*/}" != nspawn ] ||
  whole_fact deb a_point_of_a_newer_client_is_told_before_and_never_loaded_where_it_cannot_be
a_point_of_a_newer_client_is_told_before_and_never_loaded_where_it_cannot_be() {
  local sid; sid=$("$(dirname "$lab")/mkbase" sid) || fail "no base of sid"
  boot "$(cat "$work/image-$family")" -v "$sid:/sid:ro"
  remember_data
  run systemctl stop openwatch.service; expect_rc 0
  expect_out_of ' 18' "$(client_18)"
  # Both are there: that of the server's major makes the point and loads it.
  take; expect_is 15 sh_ "sed -n 's/.*\"client_version\": *\"\\([0-9]*\\).*/\\1/p' /var/lib/openwatch/backups/$point/manifest.json"
  local first=$point
  run openwatch backup verify --restore "$first"; expect_rc 0
  # Only the newer one: what it would write could never be loaded here, so that none is made.
  sh_ 'mv /usr/lib/postgresql/15/bin/pg_restore /root/pg_restore'
  run openwatch backup create; expect_rc 6
  expect_out 'pg_dump 18[.0-9]* writes archives that nothing loads into a PostgreSQL 15 server'
  expect_out 'Install postgresql-client-15'; expect_points 1; expect_is 0 stray_points
  run openwatch backup list; expect_out 'warning: no installed pg_restore can load an archive of pg_dump 15'
  run openwatch restore "$first" --yes; expect_rc 5
  expect_out 'Install postgresql-client-15'; expect_same_data
  pid=$(main_pid); upgrade_to 2.0.0; expect_failure; expect_out 'nothing loads into a PostgreSQL 15 server'
  expect_installed 1.0.0; expect_schema 0005; expect_mark none; expect_points 1; expect_same_data
  sh_ 'mv /root/pg_restore /usr/lib/postgresql/15/bin/pg_restore'
  # The first one is as good as ever.
  sql 'delete from customer_notes where id % 2 = 0' >/dev/null
  run openwatch restore "$first" --yes; expect_rc 0; expect_same_data
}

# --- clones on storage that shares ----------------------------------------------------------------

# cluster_on_xfs: the server's files lie on an XFS of their own; where no kernel or no mkfs has it, the
# fact says so loudly and ends.
cluster_on_xfs() {
  local dev
  if ! command -v mkfs.xfs >/dev/null; then say "LEFT OUT: no mkfs.xfs here"; exit 0; fi
  if ! grep -qw xfs /proc/filesystems && ! modprobe -q xfs; then say "LEFT OUT: this kernel mounts no XFS"; exit 0; fi
  truncate -s 6G "$scratch/xfs.img"; mkfs.xfs -q -m reflink=1 "$scratch/xfs.img" || fail "mkfs.xfs"
  "$lab" attach "$machine" xfs "$scratch/xfs.img" >>"$scratch/log" 2>&1 || fail "attach"
  dev=/dev/disk/by-uuid/$(blkid -p -s UUID -o value "$scratch/xfs.img")
  sh_ "systemctl stop openwatch.service 'postgresql@*' && mv /var/lib/postgresql /var/lib/postgresql.was &&
    mkdir /var/lib/postgresql && mount $dev /var/lib/postgresql &&
    cp -a /var/lib/postgresql.was/. /var/lib/postgresql/ && chown postgres: /var/lib/postgresql &&
    systemctl start postgresql@*-main.service 'postgresql@18-main.service'" >>"$scratch/log" 2>&1 || fail "the cluster does not move"
  wait_for 60 m pg_isready -q
  # The server itself says how long it copied.
  sql 'alter role openwatch set log_min_duration_statement = 0; grant pg_read_all_settings to openwatch' postgres >/dev/null || fail "log"
  sh_ 'systemctl start openwatch.service' || fail "the service does not start"
}
used() { sh_ 'sync; df --output=used -B1 /var/lib/postgresql | tail -n 1'; }
# cloned_in: milliseconds that the last clone took the server.
cloned_in() {
  sh_ "journalctl --no-pager -q -o cat -u 'postgresql*' | grep -i 'create database .*_clone_' |
    sed -n 's/.*duration: \\([0-9.]*\\).*/\\1/p' | tail -n 1"
}
clone_now() { sql "select datname from pg_database where datname like 'openwatch\\_clone\\_%' order by oid desc limit 1" postgres; }
# there_and_back: the migration that cannot work, behind a clone; the clone is the database again.
there_and_back() {
  local before clone oid
  before=$(used)
  run openwatch upgrade --retry; expect_failure
  clone=$(clone_now); [ -n "$clone" ] || fail "no clone"
  grew=$(( ($(used) - before) / 1048576 ))
  oid=$(sql "select oid from pg_database where datname = '$clone'" postgres)
  took=$(cloned_in); [ -n "$took" ] || fail "the server does not say how long it copied"
  local begun=${EPOCHREALTIME/./}
  # What was written since is nothing; a copy of it would take as long as a dump.
  run openwatch restore latest --yes --no-copy; expect_rc 0
  back=$(( (${EPOCHREALTIME/./} - begun) / 1000 ))
  expect_is "$oid" sql "select oid from pg_database where datname = 'openwatch'" postgres
  expect_schema 0005
}

if [[ $suite = *sid* ]] && [ "${lab##*/}" = nspawn ]; then
  whole_fact deb a_clone_on_storage_that_shares_takes_no_room_and_goes_back_by_its_name
fi
a_clone_on_storage_that_shares_takes_no_room_and_goes_back_by_its_name() {
  local took grew back small size copied begun count sums
  old_machine; cluster_on_xfs
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d
    printf 'restore_point = \"clone\"\n' > /etc/openwatch/upgrade.conf.d/50-clone.conf"
  sql "alter system set file_copy_method = 'copy'" postgres >/dev/null
  upgrade_to 2.1.0; expect_failure
  run openwatch restore latest --yes; expect_rc 0
  there_and_back; small=$took
  say "a clone of $(sql "select pg_database_size('openwatch') / 1048576" postgres) MB: $small ms, rollback $back ms, $grew MiB of the disk"
  sql "create table ballast as select i, repeat(md5(i::text), 30) as t from generate_series(1, 700000) i;
    alter table ballast owner to openwatch; checkpoint" >/dev/null || fail "ballast"
  sums="select count(*), md5(string_agg(md5(b::text), '' order by i)) from ballast b"
  count=$(sql "$sums"); size=$(sql "select pg_database_size('openwatch') / 1048576" postgres)
  there_and_back
  expect_is "$count" sql "$sums"
  # What shows the reflink on any machine, however busy: a copy of all bytes would take them from the disk.
  [ "$grew" -lt $((size / 4)) ] || fail "the clone of $size MB took $grew MiB"
  begun=${EPOCHREALTIME/./}
  sql 'create database copied template openwatch strategy file_copy' postgres >/dev/null || fail "copy"
  copied=$(( (${EPOCHREALTIME/./} - begun) / 1000 ))
  say "a clone of $size MB: $took ms, rollback $back ms, $grew MiB of the disk"
  say "that is $(awk "BEGIN { printf \"%.2f\", $took / $small }") times the small one; a copy of all bytes took $copied ms"
}
