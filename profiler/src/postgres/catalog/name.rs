//! A relation as people call it.

use std::fmt;

/// A relation with its schema and its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationName {
    /// Empty for what all databases share.
    pub database: String,
    /// Empty where it is not known.
    pub schema: String,
    /// For a TOAST table and its index, the table they belong to.
    pub relation: String,
    pub kind: RelationKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelationKind {
    Table,
    Index,
    Sequence,
    MaterializedView,
    Toast,
    ToastIndex,
}

impl RelationKind {
    /// By `relkind`.
    pub(super) fn of(kind: u8) -> Self {
        match kind {
            b'i' | b'I' => Self::Index,
            b'S' => Self::Sequence,
            b'm' => Self::MaterializedView,
            b't' => Self::Toast,
            _ => Self::Table,
        }
    }
}

impl fmt::Display for RelationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Those whose owner is not known have their own name, which says what they are.
        f.write_str(match self.kind {
            RelationKind::Toast if self.schema != "pg_toast" => "toast of ",
            RelationKind::ToastIndex => "toast index of ",
            _ => "",
        })?;
        if !self.schema.is_empty() {
            write!(f, "{}.", Quoted(&self.schema))?;
        }
        write!(f, "{}", Quoted(&self.relation))
    }
}

/// An identifier as SQL takes it, but that keywords stay as they are.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |c: char| c.is_ascii_lowercase() || c == '_';
        let plain = self.0.starts_with(first) && self.0.chars().all(|c| first(c) || c.is_ascii_digit() || c == '$');
        if plain { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0.replace('"', "\"\"")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        let shown = |schema: &str, relation: &str, kind| {
            let (schema, relation) = (schema.into(), relation.into());
            RelationName { database: String::new(), schema, relation, kind }.to_string()
        };
        assert_eq!(shown("public", "orders_2$", RelationKind::Table), "public.orders_2$");
        assert_eq!(shown("Sales", "a \"b\"", RelationKind::Index), "\"Sales\".\"a \"\"b\"\"\"");
        assert_eq!(shown("public", "2nd", RelationKind::Toast), "toast of public.\"2nd\"");
        assert_eq!(shown("pg_toast", "pg_toast_7", RelationKind::Toast), "pg_toast.pg_toast_7");
        assert_eq!(shown("", "t", RelationKind::Sequence), "t");
    }
}
