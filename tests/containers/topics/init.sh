# Facts about a package of another application that is made of nothing but what `openwatch init` writes.
# shellcheck shell=bash disable=SC2154,SC2016

# store_package VERSION MIGRATION...: /root/store.deb or /root/store.rpm, by the six steps of DIR/README.md. A
# migration is one statement, in the order of their numbers. The /bin of a Debian 11 need not be that below /usr.
store_package() {
  local version=$1 number=0 statement; shift
  sh_ "rm -rf /root/tree; cp -a /root/store/files /root/tree && cd /root/tree
    mkdir -p usr/share/store/migrations usr/lib/systemd/system; echo $version-1 > usr/share/store/version
    printf '%s\n' '[Service]' User=store 'ExecStart=/bin/sleep infinity' '[Install]' WantedBy=multi-user.target \
      > usr/lib/systemd/system/store.service" || fail "tree $version"
  for statement; do
    number=$((number + 1))
    sh_ "echo '$statement;' > /root/tree/usr/share/store/migrations/000${number}_of_the_store.sql" || fail "migration $number"
  done
  if [ "$family" = deb ]; then
    sh_ "cd /root/tree && cp -a ../store/deb DEBIAN
      printf '%s\n' 'Package: store' 'Version: $version-1' 'Architecture: all' 'Depends: openwatch' \
        'Maintainer: store <store@example.org>' 'Description: a store' > DEBIAN/control
      printf '%s\n' /etc/store/upgrade.conf /etc/store/secrets.env > DEBIAN/conffiles
      dpkg-deb -Znone --build /root/tree /root/store.deb" > /dev/null || fail "deb $version"
  else
    # What a macro would be in a script is a word there.
    sh_ "cd /root && sed 's/%/%%/g; s/@EVR@/$version-1/' store/rpm/pre.sh > pre
      for part in post preun postun posttrans; do sed 's/%/%%/g' store/rpm/\$part.sh > \$part; done
      { printf '%s\n' 'Name: store' 'Version: $version' 'Release: 1' 'Summary: a store' 'License: MIT' 'BuildArch: noarch' \
          'Requires: openwatch' %description 'A store.' %install 'cp -a /root/tree/. %{buildroot}/' %files
        cd /root/tree; find usr -type f | sed 's,^,/,'
        echo '%config(noreplace) /etc/store/upgrade.conf'
        echo '%config(noreplace) %attr(0640,root,store) /etc/store/secrets.env'
        for part in pre post preun postun posttrans; do echo %\$part; cat /root/\$part; done; } > /root/store.spec
      rpmbuild -bb --define '_rpmdir /root/out' --define '_build_name_fmt store.rpm' /root/store.spec > /root/rpmbuild.log 2>&1 ||
        { cat /root/rpmbuild.log; exit 1; }
      cp /root/out/store.rpm /root/store.rpm" >> "$scratch/log" 2>&1 || fail "rpm $version"
  fi
}
store_install() { # the package that is there, by the tool that an operator uses
  if [ "$family" = deb ]; then run apt-get -y install /root/store.deb; else run dnf -y install /root/store.rpm; fi
}
store_is() { expect_is "$1" m systemctl is-active store.service; }
store_mark() { expect_is "$1" sh_ 'test -e /var/lib/store/upgrade/pending && echo there || echo none'; }
store_sql() { sql "$1" store; }

whole_fact "deb rpm" a_package_made_by_init_installs_upgrades_and_stops_at_a_migration_that_fails
a_package_made_by_init_installs_upgrades_and_stops_at_a_migration_that_fails() {
  local first='create table items (id int primary key)' second='alter table items add column price int'
  old_machine
  run openwatch --app store init --service store.service --database-env STORE_URL --format plain /root/store; expect_rc 0
  store_package 1.0 "$first"; store_install; expect_rc 0
  # A fresh install migrates nothing, and asks for nothing.
  store_mark none; expect_is '640 root store' m stat -c '%a %U %G' /etc/store/secrets.env
  expect_is active m systemctl is-active store-backup-cleanup.timer
  sh_ "echo \"create role store login createdb password '$secret'\" > /tmp/role.sql; su postgres -c 'psql -qf /tmp/role.sql'; rm /tmp/role.sql
    su postgres -c 'createdb -O store store'; echo 'STORE_URL=postgresql://store:$secret@127.0.0.1/store' > /etc/store/secrets.env" || fail "database"
  run openwatch --app store migrate; expect_rc 0
  run systemctl start store.service; expect_rc 0
  store_sql 'insert into items values (1)' || fail "data"
  # The upgrade: restore point, migration, service under the gate again, and what the operator wrote is kept.
  store_package 2.0 "$first" "$second"; store_install; expect_rc 0
  store_is active; store_mark none; expect_is '1|' store_sql 'select * from items'
  expect_is 1 sh_ 'ls /var/lib/store/backups/*/manifest.json | wc -l'
  run openwatch --app store status; expect_rc 0; expect_out '2\.0-1'
  expect_is '640 root store' m stat -c '%a %U %G' /etc/store/secrets.env
  # A migration that fails: the data is as before, the service down, and nobody starts it.
  store_package 3.0 "$first" "$second" 'alter table nothing add column there_is int'; store_install
  [ "$family" = rpm ] || expect_failure
  expect_out 'relation .*nothing.* does not exist'
  store_mark there; run systemctl start store.service; expect_failure; store_is inactive
  expect_is '1|' store_sql 'select * from items'
  # The next one corrects it.
  store_package 3.1 "$first" "$second" 'alter table items add column there_is int'; store_install; expect_rc 0
  store_is active; store_mark none; expect_is '1||' store_sql 'select * from items'
  # Our own service knew of none of it.
  expect_ready 1.0.0
  tool remove store; expect_rc 0
  expect_is 3 sh_ 'ls /var/lib/store/backups/*/manifest.json | wc -l'
}
