//! A map in a file, whatever its keys are: as a list of pairs, since the keys of an object are text.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// # Errors
/// Those of the serializer.
pub fn serialize<K: Serialize, V: Serialize, H, S: Serializer>(
    map: &HashMap<K, V, H>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map)
}

/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, K, V, H, D>(deserializer: D) -> Result<HashMap<K, V, H>, D::Error>
where
    K: Deserialize<'de> + Hash + Eq,
    V: Deserialize<'de>,
    H: BuildHasher + Default,
    D: Deserializer<'de>,
{
    Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::{Deserialize, Serialize};

    #[test]
    fn keys_of_any_kind_come_back() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Kept(#[serde(with = "super")] HashMap<(u32, Option<u8>), u64>);
        let kept = Kept(HashMap::from([((1, None), 5), ((1, Some(2)), 6)]));
        let text = serde_json::to_string(&kept).expect("plain data");
        assert_eq!(serde_json::from_str::<Kept>(&text).expect("what was written"), kept);
    }
}
