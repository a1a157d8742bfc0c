//! The table of chains, as `docs/region.md` has it.

use super::key::{KEY_AT, TASK_AT};
use super::{FACTOR, PROBES, TABLE_BYTES, buckets};
use crate::format::documented::fields;
use crate::format::sample::compact::at;

#[test]
fn the_table_is_as_the_page_has_it() {
    let page = include_str!("../../../../docs/region.md");
    for says in [
        format!(
            "number of buckets is that of its bytes divided by {}",
            TABLE_BYTES.start() / buckets(16 << 10 >> 3) as u64
        ),
        format!("0x{FACTOR:x}"),
        format!("the {PROBES} buckets from there on"),
    ] {
        assert!(page.contains(&says), "{says}");
    }
    let rows = fields("Key");
    let first = [(0, 4, "unit"), (TASK_AT - KEY_AT, 1, "task")];
    assert_eq!(rows, first);
    let rest = format!(
        "bytes {} and more: what the record has from byte {} on",
        at::PC - KEY_AT,
        at::PC
    );
    assert!(page.contains(&rest), "{rest}");
}
