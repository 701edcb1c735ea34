//! Where reads go, as it is typed: `-read-prefer`, for all and for single users.

use crate::config::ReadPreference;

/// A number, or a word.
pub(super) fn preference(value: &str) -> Result<ReadPreference, String> {
    match value.to_ascii_lowercase().replace('-', "_").as_str() {
        "0" | "read_prefer_master" | "master" => Ok(ReadPreference::Master),
        "1" | "read_prefer_slave" | "slave" | "replica" => Ok(ReadPreference::Replica),
        "2" | "read_prefer_slave_idc" | "slave_idc" | "replica_idc" => {
            Ok(ReadPreference::ReplicaSameIdc)
        }
        _ => Err(
            "must be 0, 1, 2, READ_PREFER_MASTER, READ_PREFER_SLAVE or READ_PREFER_SLAVE_IDC"
                .to_string(),
        ),
    }
}
