//! What cores have spent their time on, as their kernel has accounted for it.

use std::collections::BTreeMap;

use profiler::format::Description;
use profiler::format::account::AccountKind;
use serde::Serialize;

use super::model::{Core, task_name};
use crate::profile::AccountEnd;

/// An account of a core.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AccountRow {
    /// What it is of: `task`, `interrupt`, `idle`, `samples`, `user`.
    pub kind: &'static str,
    /// The task's name, or the number of the interrupt's vector; empty of the others.
    pub name: String,
    /// The time, in ticks of the run.
    pub ticks: u64,
}

impl AccountRow {
    /// As a line of the report has it.
    fn text(&self) -> String {
        match (self.kind, self.name.as_str()) {
            ("samples", _) => "(samples, and waiting in them)".to_owned(),
            (kind, "") => format!("({kind})"),
            ("task", name) => name.to_owned(),
            ("user", name) => format!("{name}, in user mode"),
            (kind, name) => format!("({kind} {name})"),
        }
    }
}

/// The accounts of a core; none of a kind that this tool does not know.
pub(super) fn of_core(accounts: &[AccountEnd], run: &Description) -> Vec<AccountRow> {
    let row = |account: &AccountEnd| {
        let kind = AccountKind::try_from(account.kind).ok()?;
        let name = match kind {
            AccountKind::Task | AccountKind::User => task_name(run, account.number),
            AccountKind::Interrupt => account.number.to_string(),
            AccountKind::Idle | AccountKind::Samples => String::new(),
        };
        Some(AccountRow {
            kind: kind.name(),
            name,
            ticks: account.ticks,
        })
    };
    accounts.iter().filter_map(row).collect()
}

/// The accounts of all cores together, the largest first, as lines have them.
pub(super) fn together(cores: &[Core]) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for row in cores.iter().flat_map(|core| &core.accounts) {
        let sum = sums.entry(row.text()).or_default();
        *sum = sum.saturating_add(row.ticks);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, ticks)| std::cmp::Reverse(*ticks));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_cores_add_up_by_what_they_are_of() {
        let row = |kind, name: &str, ticks| AccountRow {
            kind,
            name: name.into(),
            ticks,
        };
        let core = |accounts| Core {
            id: 0,
            apic_id: None,
            kind: None,
            samples: 0,
            lost: 0,
            unclaimed: None,
            nested: None,
            accounts,
        };
        let cores = [
            core(vec![
                row("task", "heap", 700),
                row("user", "heap", 80),
                row("interrupt", "64", 10),
                row("idle", "", 90),
                row("samples", "", u64::MAX),
            ]),
            core(vec![row("task", "heap", 300), row("samples", "", 5)]),
        ];
        let expected = [
            ("(samples, and waiting in them)", u64::MAX),
            ("heap", 1000),
            ("(idle)", 90),
            ("heap, in user mode", 80),
            ("(interrupt 64)", 10),
        ];
        let expected = expected.map(|(name, ticks)| (name.to_owned(), ticks));
        assert_eq!(together(&cores), expected);
        assert_eq!(together(&[]), []);
    }
}
