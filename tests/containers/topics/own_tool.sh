# Facts about an application that brings its own migration tool, as a package beside ours.
# shellcheck shell=bash disable=SC2154

# shop_package VERSION STATEMENTS...: /root/shop_VERSION.deb, whose tool commits each statement by itself,
# as tools do that know no transaction, and whose scripts are those of the packager's guide.
shop_package() {
  local version=$1 dir=/root/shop-$1; shift
  sh_ "mkdir -p $dir/DEBIAN $dir/usr/share/shop $dir/usr/bin $dir/usr/lib/systemd/system && cd $dir
    printf 'Package: shop\nVersion: $version\nArchitecture: all\nDepends: openwatch\nMaintainer: shop <shop@example.org>\nDescription: a shop\n' > DEBIAN/control
    echo 'interest-noawait shop-upgrade' > DEBIAN/triggers
    echo $version > usr/share/shop/version
    sed -e 's/openwatch upgrade/openwatch --app shop upgrade/' -e 's/openwatch/shop/g' -e 's,/usr/bin/shop,/usr/bin/openwatch,' \
      /usr/lib/systemd/system/openwatch-upgrade.service > usr/lib/systemd/system/shop-upgrade.service" || fail "package $version"
  printf '%s\n' "$@" | m sh -c "cat > $dir/usr/share/shop/statements" || fail "statements"
  m sh -c "cat > $dir/usr/bin/shop" <<'TOOL' || fail "tool"
#!/bin/sh
# shop migrate [--check] | shop serve. What is applied is counted in a table.
set -eu
psql() { command psql -XqAtv ON_ERROR_STOP=1 "$@"; }
[ "$1" = migrate ] || exec sleep infinity
done=$(psql -c 'select count(*) from applied' 2>/dev/null || echo 0)
all=$(wc -l < /usr/share/shop/statements)
if [ "${2:-}" = --check ]; then [ "$done" = "$all" ] || exit 1; exit 0; fi
[ "$done" != 0 ] || psql -c 'create table if not exists applied (n int)'
while [ "$done" -lt "$all" ]; do
  done=$((done + 1))
  psql -c "$(sed -n "${done}p" /usr/share/shop/statements)"
  psql -c "insert into applied values ($done)"
done
TOOL
  m sh -c "cat > $dir/usr/lib/systemd/system/shop.service" <<'UNIT' || fail "unit"
[Unit]
AssertPathExists=!/var/lib/shop/upgrade/pending
Wants=shop-upgrade.service
After=shop-upgrade.service

[Service]
User=shop
ExecStart=/usr/bin/shop serve
UNIT
  m sh -c "cat > $dir/usr/share/shop/upgrade.conf" <<'CONF' || fail "upgrade.conf"
[app]
services = ["shop.service"]

[[database]]
name = "main"
url_env = "SHOP_DATABASE_URL"
user = "shop"

[database.migrations]
command = ["/usr/bin/shop", "migrate"]
status_command = ["/usr/bin/shop", "migrate", "--check"]
user = "shop"

[[health]]
unit = "shop.service"
CONF
  m sh -c "cat > $dir/DEBIAN/preinst; chmod 755 $dir/DEBIAN/preinst" <<'SCRIPT' || fail "preinst"
#!/bin/sh
set -e
if [ "$1" = upgrade ] && [ -n "$2" ]; then
    /usr/bin/openwatch --app shop scriptlet deb preinst "$@" || [ "$?" -ne 5 ] || exit 5
fi
SCRIPT
  m sh -c "cat > $dir/DEBIAN/postinst; chmod 755 $dir/DEBIAN/postinst $dir/usr/bin/shop
    dpkg-deb --build $dir /root/shop_$version.deb >/dev/null" <<'SCRIPT' || fail "postinst"
#!/bin/sh
set -e
if [ "$1" = configure ]; then systemctl daemon-reload; fi
if [ "$1" = configure ] && [ -n "$2" ]; then
    /usr/bin/openwatch --app shop scriptlet deb postinst "$@"
    dpkg-trigger shop-upgrade
fi
if [ "$1" = triggered ]; then /usr/bin/openwatch --app shop scriptlet deb postinst "$@"; fi
SCRIPT
}

# shop_machine: the first release in use, with an order in its database.
shop_machine() {
  old_machine
  shop_package 1.0-1 'create table orders (id int primary key, what text)'
  # The operator lets the data be put back; the role may make the database that takes the place.
  sh_ "mkdir -p /etc/shop; echo 'on_failure = \"restore\"' > /etc/shop/upgrade.conf
    echo 'SHOP_DATABASE_URL=postgresql:///shop?host=/run/postgresql' > /etc/shop/secrets.env
    chmod 600 /etc/shop/secrets.env; useradd --system shop
    runuser postgres -c 'createuser --createdb shop; createdb -O shop shop'" || fail "preparation"
  run dpkg -i /root/shop_1.0-1.deb; expect_rc 0
  expect_is '' sql "select string_agg(relname, ',') from pg_class where relname = 'orders'" shop
  run openwatch --app shop migrate; expect_rc 0
  sql "insert into orders values (1, 'a lamp')" shop || fail "data"
  run systemctl start shop.service; expect_rc 0
}
shop_points() { sh_ 'ls -d /var/lib/shop/backups/*/manifest.json 2>/dev/null | wc -l'; }

fact deb an_application_s_own_tool_migrates_when_its_package_is_upgraded
an_application_s_own_tool_migrates_when_its_package_is_upgraded() {
  shop_machine
  shop_package 2.0-1 'create table orders (id int primary key, what text)' \
    'alter table orders add column paid boolean default false'
  run dpkg -i /root/shop_2.0-1.deb; expect_rc 0
  expect_is 'ii 2.0-1' m dpkg-query -W -f '${db:Status-Abbrev}${Version}' shop
  expect_is '1|a lamp|f' sql 'select * from orders' shop
  expect_is active m systemctl is-active shop.service
  expect_is 1 shop_points
}

fact deb what_an_application_s_own_tool_leaves_half_done_is_put_back
what_an_application_s_own_tool_leaves_half_done_is_put_back() {
  shop_machine
  local before; before=$(m runuser postgres -c 'pg_dump shop' | grep -vE '^\\(un)?restrict ')
  # The column is gone for good when the third statement fails: the tool has committed that.
  shop_package 2.0-1 'create table orders (id int primary key, what text)' \
    'alter table orders drop column what' 'alter table nothing add column paid boolean'
  run dpkg -i /root/shop_2.0-1.deb; expect_failure
  expect_out 'nothing.* does not exist'; expect_out 'putting the data back'; expect_out 'is as before'
  expect_is "$before" sh_ "runuser postgres -c 'pg_dump shop' | grep -vE '^.(un)?restrict '"
  expect_is '' sh_ 'systemctl is-active shop.service | grep -x active'
  # The next release, with the mistake mended, goes the whole way.
  shop_package 2.0-2 'create table orders (id int primary key, what text)' \
    'alter table orders add column paid boolean default false'
  run dpkg -i /root/shop_2.0-2.deb; expect_rc 0
  expect_is '1|a lamp|f' sql 'select * from orders' shop
  expect_is active m systemctl is-active shop.service
}
