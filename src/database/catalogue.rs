//! Everything that somebody made in a database, object by object, as definitions that a person reads.
//!
//! Objects are named and described by names, never by the server's numbers, so that a database and its
//! restored dump have the same catalogue. What belongs to an extension is told by the extension's
//! version. Of functions only a digest of their text is kept: bodies hold passwords often enough.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::session::{Session, SqlError};

/// How much of a definition is kept to read, in bytes; of a longer one its digest follows.
const MOST_BYTES: usize = 600;

/// The objects of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Definitions by kind and name, such as `column public.hosts.name`.
    pub objects: BTreeMap<String, String>,
    /// SHA-256 over all of it, in hexadecimal.
    pub fingerprint: String,
}

/// Every object as kind, name, definition, and a place that tells one that was made anew from its
/// predecessor. Texts of the server name everything in full only while the search path is empty. Among the
/// options of a column the server keeps its own (`pg_attver` since 15.20, another one in each copy).
pub(super) const OBJECTS: &str = r#"
with ours as (select oid, quote_ident(nspname) as nsp, nspname, nspowner, nspacl from pg_namespace
    where nspname !~ '^pg_' and nspname <> 'information_schema'
      and not exists (select from pg_depend d where d.classid = 'pg_namespace'::regclass
        and d.objid = pg_namespace.oid and d.deptype = 'e')),
  member as (select classid, objid from pg_depend where deptype = 'e'),
  rel as (select c.*, n.nsp || '.' || quote_ident(c.relname) as named,
      case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
        when 'f' then 'foreign table' else 'table' end as kind
    from pg_class c join ours n on n.oid = c.relnamespace
    where c.relpersistence <> 't'
      and not exists (select from member m where m.classid = 'pg_class'::regclass and m.objid = c.oid)),
  fun as (select p.*, case p.prokind when 'a' then 'aggregate' when 'p' then 'procedure'
        else 'function' end as kind,
      n.nsp || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')' as named
    from pg_proc p join ours n on n.oid = p.pronamespace
    where not exists (select from member m where m.classid = 'pg_proc'::regclass and m.objid = p.oid)),
  typ as (select t.*, n.nsp || '.' || quote_ident(t.typname) as named
    from pg_type t join ours n on n.oid = t.typnamespace
    where (t.typtype in ('d', 'e', 'r')
        or t.typtype = 'c' and exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
      and not exists (select from member m where m.classid = 'pg_type'::regclass and m.objid = t.oid)),
  acl (kind, named, list) as (
    select 'schema', nsp, nspacl from ours union all select kind, named, relacl from rel
    union all select kind, named, proacl from fun union all select 'type', named, typacl from typ
    union all select 'column', r.named || '.' || quote_ident(a.attname), a.attacl
      from pg_attribute a join rel r on r.oid = a.attrelid where a.attacl is not null and not a.attisdropped),
  object (kind, named, definition, place) as (
    select 'schema', nsp, 'owner ' || pg_get_userbyid(nspowner), '' from ours
    union all select 'grants', 'on ' || kind || ' ' || named,
        (select string_agg(a::text, ', ' order by a::text collate "C") from unnest(list) a), ''
      from acl where list is not null
    union all select r.kind, r.named, concat_ws(', ',
        case r.relkind when 'p' then 'partitioned by ' || pg_get_partkeydef(r.oid) end,
        case r.relpersistence when 'u' then 'unlogged' end,
        case when r.relispartition then pg_get_expr(r.relpartbound, r.oid) end,
        (select 'inherits ' || string_agg(inhparent::regclass::text, ', ' order by inhseqno)
           from pg_inherits where inhrelid = r.oid),
        array_to_string(r.reloptions, ' '), case when r.relrowsecurity then 'row security' end,
        case when r.relforcerowsecurity then 'row security for the owner too' end,
        (select 'tablespace ' || quote_ident(spcname) from pg_tablespace where oid = r.reltablespace),
        case when r.relkind in ('v', 'm') then pg_get_viewdef(r.oid) end,
        (select format('%s, increment %s, from %s to %s%s', format_type(s.seqtypid, null), s.seqincrement,
             s.seqmin, s.seqmax, case when s.seqcycle then ', cycle' end)
           from pg_sequence s where s.seqrelid = r.oid),
        (select format('owned by %I.%I.%I', n.nspname, o.relname, a.attname) from pg_depend w
           join pg_class o on o.oid = w.refobjid join pg_namespace n on n.oid = o.relnamespace
           join pg_attribute a on a.attrelid = w.refobjid and a.attnum = w.refobjsubid
           where w.classid = 'pg_class'::regclass and w.objid = r.oid and w.refclassid = 'pg_class'::regclass
             and w.deptype in ('a', 'i') and r.relkind = 'S'),
        'owner ' || pg_get_userbyid(r.relowner)), ''
      from rel r where r.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all select 'column', r.named || '.' || quote_ident(a.attname), concat_ws(' ',
        format_type(a.atttypid, a.atttypmod),
        case when a.attcollation <> t.typcollation then 'collate ' || a.attcollation::regcollation end,
        case when a.attnotnull then 'not null' end,
        case a.attidentity when 'a' then 'identity always' when 'd' then 'identity' end,
        case when a.attgenerated <> '' then 'generated' when d.adbin is not null then 'default' end,
        pg_get_expr(d.adbin, d.adrelid), (select string_agg(o, ' ' order by at)
          from unnest(a.attoptions) with ordinality as options (o, at) where o !~ '^pg_')), a.attnum::text
      from pg_attribute a join rel r on r.oid = a.attrelid join pg_type t on t.oid = a.atttypid
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attnum > 0 and not a.attisdropped and r.relkind in ('r', 'p', 'v', 'm', 'f')
    union all select 'index', r.named, pg_get_indexdef(i.indexrelid)
        || case when i.indisreplident then ', replica identity' else '' end, i.indisvalid::text
      from pg_index i join rel r on r.oid = i.indexrelid
    union all select 'constraint', r.named || '.' || quote_ident(c.conname), pg_get_constraintdef(c.oid), ''
      from pg_constraint c join rel r on r.oid = c.conrelid
    union all select 'constraint', t.named || '.' || quote_ident(c.conname), pg_get_constraintdef(c.oid), ''
      from pg_constraint c join typ t on t.oid = c.contypid
    union all select 'trigger', r.named || '.' || quote_ident(t.tgname), pg_get_triggerdef(t.oid)
        || case t.tgenabled when 'O' then '' when 'D' then ', disabled' else ', fires ' || t.tgenabled::text end, ''
      from pg_trigger t join rel r on r.oid = t.tgrelid where not t.tgisinternal
    union all select 'rule', r.named || '.' || quote_ident(u.rulename), pg_get_ruledef(u.oid)
        || case u.ev_enabled when 'O' then '' else ', enabled ' || u.ev_enabled::text end, ''
      from pg_rewrite u join rel r on r.oid = u.ev_class where r.relkind not in ('v', 'm')
    union all select 'policy', r.named || '.' || quote_ident(p.polname), concat_ws(', ',
        case p.polpermissive when true then 'permissive' else 'restrictive' end, 'for ' || p.polcmd::text,
        (select 'to ' || string_agg(case o when 0 then 'public' else pg_get_userbyid(o)::text end, ' ')
           from unnest(p.polroles) o),
        'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid)), ''
      from pg_policy p join rel r on r.oid = p.polrelid
    union all select f.kind, f.named, concat_ws(', ', 'returns ' || pg_get_function_result(f.oid),
        'language ' || l.lanname, case when f.prosecdef then 'security definer' end,
        case f.prokind when 'a' then (select 'by ' || a.aggtransfn::regprocedure from pg_aggregate a
          where a.aggfnoid = f.oid) else 'md5 ' || md5(pg_get_functiondef(f.oid)) end,
        'owner ' || pg_get_userbyid(f.proowner)), ''
      from fun f join pg_language l on l.oid = f.prolang
    union all select 'type', t.named, concat_ws(', ',
        case t.typtype when 'd' then 'domain over ' || format_type(t.typbasetype, t.typtypmod) end,
        case when t.typnotnull then 'not null' end, 'default ' || t.typdefault,
        (select 'labels ' || string_agg(quote_literal(enumlabel), ' ' order by enumsortorder)
           from pg_enum where enumtypid = t.oid),
        (select 'range of ' || format_type(rngsubtype, null) from pg_range where rngtypid = t.oid),
        (select string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ' ' order by attnum)
           from pg_attribute where t.typtype = 'c' and attrelid = t.typrelid and not attisdropped),
        'owner ' || pg_get_userbyid(t.typowner)), '' from typ t
    union all select 'statistics', n.nsp || '.' || quote_ident(s.stxname), pg_get_statisticsobjdef(s.oid), ''
      from pg_statistic_ext s join ours n on n.oid = s.stxnamespace
    union all select 'extension', quote_ident(extname), extversion, '' from pg_extension
    union all select 'event trigger', quote_ident(evtname), concat_ws(' ', evtevent, evtenabled::text,
        evtfoid::regprocedure, array_to_string(evttags, ' ')), '' from pg_event_trigger e
      where not exists (select from member m where m.classid = 'pg_event_trigger'::regclass and m.objid = e.oid)
    union all select 'publication', quote_ident(pubname), concat_ws(' ', case when puballtables then 'all tables' end,
        case when pubinsert then 'insert' end, case when pubupdate then 'update' end,
        case when pubdelete then 'delete' end, case when pubtruncate then 'truncate' end,
        (select string_agg(prrelid::regclass::text, ' ' order by prrelid::regclass::text)
           from pg_publication_rel where prpubid = p.oid)), '' from pg_publication p
    union all select 'default rights', concat_ws(' ', 'of', pg_get_userbyid(defaclrole), 'in',
        coalesce(defaclnamespace::regnamespace::text, 'every schema'), 'on', defaclobjtype::text),
        array_to_string(defaclacl, ', '), '' from pg_default_acl
    union all select 'comment', 'on ' || pg_describe_object(classoid, objoid, objsubid), description, ''
      from pg_description d where objoid >= 16384
        and not exists (select from member m where m.classid = d.classoid and m.objid = d.objoid))
"#;

impl Session {
    /// Reads every definition, in a transaction that can write nothing.
    pub fn catalogue(&mut self) -> Result<Catalogue, SqlError> {
        if let Some(file) = self.file() {
            return file.catalogue();
        }
        self.begin_looking()?;
        let read = self.read_catalogue();
        let ended = self.end_looking();
        read.and_then(|catalogue| ended.map(|()| catalogue))
    }

    fn read_catalogue(&mut self) -> Result<Catalogue, SqlError> {
        self.run("set local search_path = ''")?;
        let mut catalogue = Catalogue::default();
        let mut digest = Sha256::new();
        let sql = format!(
            "{OBJECTS} select kind || ' ' || named, coalesce(definition, '') from object \
             order by (kind || ' ' || named) collate \"C\", definition collate \"C\""
        );
        self.each(&sql, |[name, definition]| {
            for part in [name, "\0", definition, "\0"] {
                digest.update(part.as_bytes());
            }
            catalogue.objects.insert(name.to_owned(), readable(definition));
        })?;
        catalogue.fingerprint = hex::encode(digest.finalize());
        Ok(catalogue)
    }
}

impl Catalogue {
    /// Puts objects together, each with its kind and name and its definition, in their order.
    pub(super) fn of<'o>(all: impl IntoIterator<Item = (&'o str, &'o str)>) -> Self {
        let mut catalogue = Self::default();
        let mut digest = Sha256::new();
        for (name, definition) in all {
            for part in [name, "\0", definition, "\0"] {
                digest.update(part.as_bytes());
            }
            catalogue.objects.insert(name.to_owned(), readable(definition));
        }
        catalogue.fingerprint = hex::encode(digest.finalize());
        catalogue
    }
}

/// One line; of a long definition its beginning, and a digest that tells it from others like it.
fn readable(definition: &str) -> String {
    let line = definition.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= MOST_BYTES {
        return line;
    }
    let mut end = MOST_BYTES / 2;
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let digest = hex::encode(Sha256::digest(definition.as_bytes()));
    format!("{}… sha256 {digest}", &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_definitions_are_cut_and_still_told_apart() {
        let long = "ä ".repeat(1000);
        let (one, other) = (readable(&long), readable(&format!("{long}b")));
        assert!(one.len() < MOST_BYTES && one != other);
        assert_eq!(readable("select 1\n  from a"), "select 1 from a");
    }
}
