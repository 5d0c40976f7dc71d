//! What a restore in place takes away before it loads: all that the archive brings again.

use super::Database;
use crate::error::{Context, Result};

/// Drops everything that the role owns, except what belongs to an extension; of that, it deletes the rows
/// that a dump keeps.
///
/// Event triggers go first, or they would see the rest go. Own schemas go whole. In schemas of others
/// (such as `public`) the objects go one by one, by the name that the server itself gives them; a
/// partitioned table belongs to the columns of its own key, and to nothing else. Large objects have no
/// schema. Tables whose rows an extension has a dump keep (`pg_extension_config_dump`)
/// are emptied from the last that was declared: those that refer to others come after them.
pub(super) const EMPTY: &str = r"set local lock_timeout = '30s';
set local client_min_messages = warning;
do $openwatch$
declare o record;
begin
  for o in select i.type, i.identity from (
             select 'pg_event_trigger'::regclass, oid, evtowner from pg_event_trigger
             union all select 'pg_foreign_server'::regclass, oid, srvowner from pg_foreign_server
             union all
             select 'pg_foreign_data_wrapper'::regclass, oid, fdwowner from pg_foreign_data_wrapper
             union all
             select 'pg_language'::regclass, oid, lanowner from pg_language where lanispl
           ) as w (class, oid, owner), lateral pg_identify_object(w.class, w.oid, 0) i
            where pg_has_role(w.owner, 'USAGE') and w.oid >= 16384
              and not exists (select from pg_depend e where e.classid = w.class
                               and e.objid = w.oid and e.deptype = 'e')
            order by i.type <> 'event trigger'
  loop
    execute format('drop %s if exists %s cascade', replace(o.type, '-', ' '), o.identity);
  end loop;
  for o in select n.nspname from pg_namespace n
            where n.nspname !~ '^pg_' and n.nspname not in ('public', 'information_schema')
              and pg_has_role(n.nspowner, 'USAGE')
              and not exists (select from pg_depend d where d.classid = 'pg_namespace'::regclass
                               and d.objid = n.oid and d.deptype = 'e')
  loop
    execute format('drop schema if exists %I cascade', o.nspname);
  end loop;
  for o in select i.type, i.identity
             from pg_depend d join pg_namespace n on d.refobjid = n.oid,
                  lateral pg_identify_object(d.classid, d.objid, 0) i
            where d.refclassid = 'pg_namespace'::regclass and d.deptype = 'n'
              and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
              and not exists (select from pg_depend e where e.classid = d.classid
                               and e.objid = d.objid and e.deptype in ('e', 'i')
                               and e.refobjid <> e.objid)
              and i.type in ('table', 'view', 'materialized view', 'foreign table', 'sequence',
                  'composite type', 'type', 'domain', 'function', 'procedure', 'aggregate',
                  'operator', 'operator class', 'operator family', 'collation', 'conversion',
                  'statistics object', 'text search configuration', 'text search dictionary')
            order by array_position(array['view', 'materialized view', 'table'], i.type)
  loop
    execute format('drop %s if exists %s cascade',
      case o.type when 'composite type' then 'type' when 'statistics object' then 'statistics'
                  else o.type end,
      o.identity);
  end loop;
  for o in select u.oid::regclass as name, u.condition
             from pg_extension e,
                  unnest(e.extconfig, e.extcondition) with ordinality u (oid, condition, place)
                  join pg_class c on c.oid = u.oid and c.relkind in ('r', 'p')
            where has_table_privilege(u.oid, 'delete') and has_table_privilege(u.oid, 'insert')
            order by e.oid desc, u.place desc
  loop
    execute format('delete from %s %s', o.name, o.condition);
  end loop;
  for o in select p.pubname from pg_publication p where pg_has_role(p.pubowner, 'USAGE')
  loop
    execute format('drop publication if exists %I', o.pubname);
  end loop;
  for o in select l.oid from pg_largeobject_metadata l where pg_has_role(l.lomowner, 'USAGE')
  loop
    perform lo_unlink(o.oid);
  end loop;
end
$openwatch$;
";

/// Lists the tables of extensions, by schema and name, whose rows a dump has and our role may not
/// replace: they stay as they are, and were never the application's to change.
pub(super) fn out_of_reach(database: &Database) -> Result<Vec<(String, String)>> {
    let sql = "select n.nspname::text, c.relname::text
         from pg_extension e, unnest(e.extconfig) u (oid)
              join pg_class c on c.oid = u.oid join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p')
          and not (has_table_privilege(c.oid, 'delete') and has_table_privilege(c.oid, 'insert'))";
    let rows = database.connect()?.rows(sql, &[]);
    let rows = rows.context(|| "cannot list the tables of extensions".into())?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
