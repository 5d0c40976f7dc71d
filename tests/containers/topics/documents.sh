# Facts about the documents: the commands that they print are run as printed. The rows are in
# ../documents, which tests/documents.rs holds against the documents themselves.
# shellcheck shell=bash disable=SC2154

documented() { # documented SITUATION: runs its commands in order, with the status that each must have
  local of situation status document command ran=0
  while IFS='|' read -r of situation status document command; do
    of=${of// /} status=${status// /} situation=$(trim "$situation") command=$(trim "$command")
    [ "$situation" = "$1" ] || continue
    case $of in both | "$family") ;; *) continue ;; esac
    ran=$((ran + 1))
    # An operator answers the package tool's question; its files lie in the working directory.
    command="cd /repo/in; yes 2>/dev/null | { ${command//NAME/shop}
}"
    if [ "$status" = follows ]; then run timeout 3 sh -c "$command"; expect_rc 124; [ -n "$out" ] || fail "it shows nothing"
    else run sh -c "$command"; expect_rc "$status"; fi
  done < <(grep -v '^#' "$here/documents")
  [ $ran -gt 0 ] || fail "no command of the situation '$1'"
}
trim() { sed 's/^ *//; s/ *$//' <<<"$1"; }

block() { # block DOCUMENT KIND NUMBER: the text of a block as the document prints it
  awk -v kind="$2" -v number="$3" '
    /^ *```/ { if (inside) inside = 0; else { inside = ($0 ~ "```" kind "$" && ++seen == number); next } }
    inside' "$here/../../$1"
}

fact "deb rpm" the_readme_s_install_and_first_start_work_as_printed
the_readme_s_install_and_first_start_work_as_printed() {
  fresh 1.0.0
  documented install; expect_installed 2.0.0; expect_service inactive
  configure
  documented "first start"
  wait_for 20 http /readyz; expect_ready 2.0.0; expect_out '0 pending'
}

fact "deb rpm" the_runbook_s_commands_of_a_good_upgrade_work_as_printed
the_runbook_s_commands_of_a_good_upgrade_work_as_printed() {
  old_machine; remember_all
  use_repo 2.0.0
  # The key of the repository's metadata is accepted by the operator, once.
  [ "$family" = deb ] || m dnf -y -q makecache
  documented before
  documented "with a restore point"
  expect_installed 1.0.0; expect_is "$pid" main_pid; expect_same_data; expect_points 1
  documented "one command"; expect_installed 2.0.0; expect_ready 2.0.0
  documented during
  documented after; expect_points 2
}

# Row 91.
fact "deb rpm" the_runbook_s_tries_after_a_failure_work_as_printed
the_runbook_s_tries_after_a_failure_work_as_printed() {
  blocked_upgrade
  sql 'drop table audit_trail'
  documented "try again with the package tool"
  expect_installed 3.0.0; expect_schema 0008; expect_mark none; expect_ready 3.0.0
}

fact "deb rpm" the_runbook_s_try_without_the_package_tool_works_as_printed
the_runbook_s_try_without_the_package_tool_works_as_printed() {
  blocked_upgrade
  sql 'drop table audit_trail'
  documented "try again without it"
  expect_schema 0008; expect_mark none; expect_ready 3.0.0
}

# Row 91.
fact "deb rpm" the_runbook_s_way_back_works_as_printed
the_runbook_s_way_back_works_as_printed() {
  old_machine; remember_data
  upgrade_to 2.0.0; expect_rc 0
  documented "looking at the way back"; expect_schema 0007; expect_ready 2.0.0
  expect_out "To do it, run .systemctl stop openwatch.service && openwatch restore .* --yes"
  documented "data back"; expect_schema 0005; expect_same_data
  documented "program back"
  expect_installed 1.0.0; expect_mark none; expect_same_data
  m systemctl start openwatch.service; wait_for 20 http /readyz; expect_ready 1.0.0
}

# Rows 57, 60 and 91.
fact "deb rpm" the_runbook_s_one_command_back_works_as_printed
the_runbook_s_one_command_back_works_as_printed() {
  old_machine; remember_data
  upgrade_to 2.0.0; expect_rc 0
  sql "insert into customer_notes select 100000 + i, 'later' from generate_series(1, 7) i"
  documented "looking at the way back together"; expect_schema 0007; expect_ready 2.0.0
  expect_out 'the restore point is .* old'; expect_out 'write-ahead log'; expect_points 1
  expect_out 'To do it, run .openwatch rollback --to 1\.0\.0.* --yes'
  documented "back together"
  expect_installed 1.0.0; expect_schema 0005; expect_mark none; expect_same_data; expect_ready 1.0.0
  # What was there until then is a restore point.
  expect_points 2
}

# The application of the packager's guide, made of what the guide prints: its configuration, a first
# release of which lies in the database, and a second migration.
fact deb the_packager_s_guide_makes_an_application_whose_commands_work_as_printed
the_packager_s_guide_makes_an_application_whose_commands_work_as_printed() {
  old_machine
  local share=/usr/share/shop
  sh_ "mkdir -p $share/migrations /etc/shop; echo 2.0.0-1 > $share/version
    echo 'create table orders (id int primary key);' > $share/migrations/0001_orders.sql
    echo 'NAME_DATABASE_URL=postgresql:///shop?host=/run/postgresql' | sed s/NAME/shop/ > /etc/shop/secrets.env
    chmod 600 /etc/shop/secrets.env; useradd --system shop
    su postgres -c 'createuser shop; createdb -O shop shop'" || fail "preparation"
  block docs/PACKAGING.md toml 1 | sed 's/NAME/shop/g' | m sh -c "cat > $share/upgrade.conf" || fail "upgrade.conf"
  run openwatch --app shop migrate; expect_rc 0
  sh_ "echo 'create table lines (id int primary key);' > $share/migrations/0002_lines.sql"
  documented packaged
  expect_is 1 sql 'select count(*) from openwatch_schema_history' shop
}
