//! What changing the type of a column costs, and whether values can be lost.

/// What a change of type does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Whether the table is written anew; otherwise only the catalogue changes.
    pub(super) rewrites: bool,
    /// Whether values may not fit any more.
    pub(super) narrows: bool,
}

/// A type as the server names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Type {
    base: String,
    arguments: Vec<u32>,
    array: bool,
}

/// Compares two types as they are written; `None` where the former one is not known.
///
/// Which changes need no rewrite: ALTER TABLE of PostgreSQL 13 to 18, "binary coercible".
pub(super) fn change(from: Option<&str>, to: &str) -> Change {
    let to = parse(to);
    let Some(from) = from.map(parse) else {
        let bounded = matches!(to.base.as_str(), "varchar" | "bpchar") && !to.arguments.is_empty();
        let small = matches!(to.base.as_str(), "int2" | "float4" | "date");
        return Change { rewrites: true, narrows: bounded || small };
    };
    if from.array != to.array {
        return Change { rewrites: true, narrows: false };
    }
    let change = scalar(&from, &to);
    // Elements are coerced one by one, which no shortcut of the server covers.
    Change { rewrites: change.rewrites || (from.array && from != to), ..change }
}

fn scalar(from: &Type, to: &Type) -> Change {
    let instant = Change { rewrites: false, narrows: false };
    let rewrite = Change { rewrites: true, narrows: false };
    let narrow = Change { rewrites: true, narrows: true };
    if from == to {
        return instant;
    }
    match (from.base.as_str(), to.base.as_str()) {
        ("varchar", "varchar") | ("varbit", "varbit") => match (limit(from), limit(to)) {
            (_, None) => instant,
            (Some(former), Some(new)) if new >= former => instant,
            (_, Some(_)) => narrow,
        },
        ("bpchar", "bpchar") => {
            if limit(to) < limit(from) {
                narrow
            } else {
                rewrite
            }
        }
        ("varchar", "text") | ("cidr", "inet") => instant,
        ("text", "varchar") if to.arguments.is_empty() => instant,
        ("bpchar", "varchar") if limit(to).is_some_and(|new| Some(new) < limit(from)) => narrow,
        ("bpchar", "varchar" | "text") => rewrite,
        (_, "varchar" | "bpchar") if !to.arguments.is_empty() => narrow,
        ("numeric", "numeric") => numeric(from, to),
        ("timestamp", "timestamp") | ("timestamptz", "timestamptz") | ("time", "time") => {
            if limit(to).unwrap_or(6) < limit(from).unwrap_or(6) { narrow } else { instant }
        }
        ("timestamp" | "timestamptz", "date" | "time" | "timetz") => narrow,
        (former, new) => match (rank(former), rank(new)) {
            (Some(former), Some(new)) if !fits(former, new) => narrow,
            _ => rewrite,
        },
    }
}

fn limit(of: &Type) -> Option<u32> {
    of.arguments.first().copied()
}

fn numeric(from: &Type, to: &Type) -> Change {
    let of = |t: &Type| t.arguments.first().map(|p| (*p, t.arguments.get(1).copied().unwrap_or(0)));
    match (of(from), of(to)) {
        (_, None) => Change { rewrites: false, narrows: false },
        (Some((precision, scale)), Some((new_precision, new_scale))) => {
            let whole = precision.saturating_sub(scale);
            let narrows = new_scale < scale || new_precision.saturating_sub(new_scale) < whole;
            Change { rewrites: new_scale != scale || narrows, narrows }
        }
        (None, Some(_)) => Change { rewrites: true, narrows: true },
    }
}

/// Numbers: how many digits before the point, and whether it has some behind it.
fn rank(base: &str) -> Option<(u32, bool)> {
    Some(match base {
        "int2" => (4, false),
        "float4" => (6, true),
        "int4" => (9, false),
        "float8" => (15, true),
        "int8" => (18, false),
        "numeric" => (1000, true),
        _ => return None,
    })
}

fn fits(former: (u32, bool), new: (u32, bool)) -> bool {
    former.0 <= new.0 && (!former.1 || new.1)
}

fn parse(text: &str) -> Type {
    let text = text.to_lowercase();
    let array = text.contains('[') || text.split_whitespace().any(|word| word == "array");
    let arguments = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let numbers = arguments.map_or("", |(inside, _)| inside);
    let numbers: Vec<u32> = numbers.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let outside: String = match (text.split_once('('), arguments) {
        (Some((before, _)), Some((_, after))) => format!("{before} {after}"),
        _ => text.clone(),
    };
    let words: Vec<&str> = outside
        .split_whitespace()
        .map(|word| word.split('[').next().unwrap_or(word))
        .filter(|word| !word.is_empty() && *word != "array")
        .collect();
    let joined = words.join(" ");
    let joined = joined.strip_prefix("pg_catalog.").unwrap_or(&joined);
    let base = match joined {
        "int" | "integer" | "int4" | "serial" | "serial4" => "int4",
        "smallint" | "int2" | "smallserial" | "serial2" => "int2",
        "bigint" | "int8" | "bigserial" | "serial8" => "int8",
        "real" | "float4" => "float4",
        "double precision" | "float8" | "float" => "float8",
        "decimal" | "dec" | "numeric" => "numeric",
        "char" | "character" | "bpchar" | "nchar" => "bpchar",
        "varchar" | "character varying" | "char varying" => "varchar",
        "bit varying" | "varbit" => "varbit",
        "bool" | "boolean" => "bool",
        "timestamp" | "timestamp without time zone" => "timestamp",
        "timestamptz" | "timestamp with time zone" => "timestamptz",
        "time" | "time without time zone" => "time",
        "timetz" | "time with time zone" => "timetz",
        other => other,
    };
    let arguments = if base == "bpchar" && numbers.is_empty() { vec![1] } else { numbers };
    Type { base: base.to_owned(), arguments, array }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_its_price() {
        for (from, to, rewrites, narrows) in [
            ("varchar(10)", "character varying(20)", false, false),
            ("varchar(20)", "varchar (10)", true, true),
            ("varchar(20)", "text", false, false),
            ("text", "varchar", false, false),
            ("text", "varchar(5)", true, true),
            ("char(5)", "char(3)", true, true),
            ("char(5)", "text", true, false),
            ("integer", "bigint", true, false),
            ("serial", "int8", true, false),
            ("bigint", "int", true, true),
            ("int", "double precision", true, false),
            ("bigint", "float8", true, true),
            ("double precision", "real", true, true),
            ("numeric", "integer", true, true),
            ("int", "numeric", true, false),
            ("numeric(10,2)", "numeric(12,2)", false, false),
            ("numeric(10,2)", "numeric(12,4)", true, false),
            ("numeric(10,4)", "numeric(10,2)", true, true),
            ("numeric(10,2)", "numeric", false, false),
            ("numeric", "numeric(5)", true, true),
            ("timestamp", "timestamp with time zone", true, false),
            ("timestamp(3) with time zone", "timestamptz", false, false),
            ("timestamptz", "timestamptz(0)", true, true),
            ("timestamptz", "date", true, true),
            ("text", "integer", true, false),
            ("text[]", "text[]", false, false),
            ("varchar(3)[]", "text[]", true, false),
            ("int", "int[]", true, false),
            ("cidr", "inet", false, false),
            ("mood", "text", true, false),
            ("mood", "pg_catalog.mood", false, false),
        ] {
            assert_eq!(change(Some(from), to), Change { rewrites, narrows }, "{from} to {to}");
        }
        assert_eq!(change(None, "varchar(3)"), Change { rewrites: true, narrows: true });
        assert_eq!(change(None, "bigint"), Change { rewrites: true, narrows: false });
    }
}
