//! What a relation is called.

use crate::{report::model::RelationIo, vocabulary::Fork};

/// `public.orders`, or the numbers in its path where the name is not known.
pub(crate) fn relation_name(relation: &RelationIo) -> String {
    let name = relation.name.clone().unwrap_or_else(|| {
        let database = relation.database.map_or("shared".into(), |oid| format!("database {oid}"));
        let temporary = if relation.temporary { " (temporary)" } else { "" };
        format!("{database}, relfilenode {}{temporary}", relation.relfilenode)
    });
    if relation.fork == Fork::Main { name } else { format!("{name} ({})", relation.fork) }
}
