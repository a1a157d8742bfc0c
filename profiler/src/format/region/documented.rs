//! The header page and the counters of the ring page, as `docs/region.md` has them.

use core::mem::offset_of;

use super::{
    CoreCounters, DESCRIPTION_BYTES, HAS_LEFT, HeaderPage, MAGIC, MAILBOX_TEXT_BYTES, MailboxWords,
    OVERHEAD_ROWS, OverheadCounters, REFUSAL_BYTES, RingPage, VERSION,
};
use crate::format::account::{ACCOUNT_ROWS, AccountCounters, AccountKind};
use crate::format::documented::fields;
use crate::format::process::{PROCESS_ROWS, Process, ProcessWord};

#[test]
fn the_header_page_is_as_the_page_has_it() {
    let expected = [
        (offset_of!(HeaderPage, magic), MAGIC.len(), "magic"),
        (offset_of!(HeaderPage, version), 4, "version"),
        (offset_of!(HeaderPage, state), 4, "state"),
        (
            offset_of!(HeaderPage, description),
            DESCRIPTION_BYTES,
            "description",
        ),
        (
            offset_of!(HeaderPage, mailbox),
            size_of::<MailboxWords>(),
            "mailbox",
        ),
        (offset_of!(HeaderPage, left), 8, "left"),
    ];
    assert_eq!(fields("Header page"), expected);
    let page = include_str!("../../../../docs/region.md");
    let left = HAS_LEFT.to_le_bytes();
    let left = str::from_utf8(&left).unwrap();
    assert!(page.contains(&format!("| `left` | `{left}` ")));
    let magic = MAGIC.map(|byte| format!("{byte:02x}")).join(" ");
    assert!(page.contains(&format!("| `{magic}`, written last |")));
    assert!(page.contains(&format!("| `version` | {VERSION} |")));
    let refusal = offset_of!(HeaderPage, description) + DESCRIPTION_BYTES - REFUSAL_BYTES;
    let refusal =
        format!("last {REFUSAL_BYTES} bytes of the description (offset {refusal} of the page)");
    assert!(page.contains(&refusal), "{refusal}");
}

#[test]
fn the_mailbox_is_as_the_page_has_it() {
    macro_rules! at {
        ($field:ident) => {
            offset_of!(HeaderPage, mailbox) + offset_of!(MailboxWords, $field)
        };
    }
    let expected = [
        (at!(requested), 4, "requested"),
        (at!(answered), 4, "answered"),
        (at!(command), 4, "command"),
        (at!(refused), 4, "refused"),
        (at!(closed), 4, "closed"),
        (at!(period), 8, "period"),
        (at!(text), MAILBOX_TEXT_BYTES, "text"),
    ];
    assert_eq!(fields("Mailbox"), expected);
}

#[test]
fn the_counters_are_as_the_page_has_them() {
    macro_rules! at {
        ($field:ident) => {
            (
                offset_of!(RingPage, counters) + offset_of!(CoreCounters, $field),
                8,
                stringify!($field),
            )
        };
    }
    assert_eq!(offset_of!(RingPage, control), 0);
    let expected = [
        at!(apic_id),
        at!(taken),
        at!(stored),
        at!(unclaimed),
        at!(nested),
        at!(late),
        at!(early),
        at!(missed),
        at!(checks),
        at!(smis),
        at!(maker),
        at!(kind),
        (
            offset_of!(RingPage, overheads),
            size_of::<[OverheadCounters; OVERHEAD_ROWS]>(),
            "overheads",
        ),
        (offset_of!(RingPage, table_used), 8, "table_used"),
        (
            offset_of!(RingPage, accounts),
            size_of::<[AccountCounters; ACCOUNT_ROWS]>(),
            "accounts",
        ),
        (
            offset_of!(RingPage, processes),
            size_of::<[ProcessWord; PROCESS_ROWS]>(),
            "processes",
        ),
    ];
    assert_eq!(fields("Ring page")[5..], expected);
}

#[test]
fn the_overheads_are_as_the_page_has_them() {
    macro_rules! at {
        ($field:ident) => {
            (offset_of!(OverheadCounters, $field), 8, stringify!($field))
        };
    }
    let expected = [
        at!(rest),
        at!(busy),
        at!(spread),
        at!(since),
        at!(checks),
        at!(sum),
        at!(min),
        at!(max),
    ];
    assert_eq!(fields("Overhead"), expected);
    let page = include_str!("../../../../docs/region.md");
    assert!(page.contains(&format!("first {OVERHEAD_ROWS} events, by number")));
}

#[test]
fn the_processes_are_as_the_page_has_them() {
    assert_eq!(
        fields("Process"),
        [(0, 2, "number"), (2, 2, "program"), (4, 4, "pid")]
    );
    let row = ProcessWord::default();
    row.store(Process {
        number: 0x0102,
        program: 0x0304,
        pid: 0x0506_0708,
    });
    // SAFETY: it is a word of eight bytes that nobody else has.
    let bytes = unsafe { core::mem::transmute::<ProcessWord, [u8; 8]>(row) };
    assert_eq!(bytes, [2, 1, 4, 3, 8, 7, 6, 5]);
    let page = include_str!("../../../../docs/region.md");
    assert!(page.contains(&format!("{PROCESS_ROWS} processes")));
}

#[test]
fn the_accounts_are_as_the_page_has_them() {
    let expected = [
        (offset_of!(AccountCounters, used_for), 8, "used_for"),
        (offset_of!(AccountCounters, ticks), 8, "ticks"),
    ];
    assert_eq!(fields("Account"), expected);
    let page = include_str!("../../../../docs/region.md");
    assert!(page.contains(&format!("{ACCOUNT_ROWS} accounts")));
    for kind in AccountKind::ALL {
        let row = format!("`{}` ({})", kind.name(), kind as u8);
        assert!(page.contains(&row), "{row}");
    }
}
