//! Groups as a table.

use super::{By, Group, Groups};
use crate::output::{one_line, padded, width};
use crate::report::SortBy;
use crate::report::statistics::error;
use crate::report::text::{Out, WIDTH, keep_ends};
use crate::units::{counted, grouped, percent};

/// The groups as text.
#[must_use]
pub fn text(groups: &Groups, sort: SortBy) -> String {
    let mut out = Out::default();
    samples(&mut out, groups.samples, &groups.only);
    let is_single = groups.events.len() == 1;
    if !is_single {
        for (index, event) in groups.events.iter().enumerate() {
            let samples = counted(event.samples, "sample");
            out.fact(
                &format!("event {index}"),
                &format!("{}: {samples}", event.name),
            );
        }
    }
    out.line("");
    if groups.rows.is_empty() && groups.groups_in_all == 0 {
        out.line("no groups: no samples");
        return out.0;
    }
    let has_total = groups.rows.iter().any(|row| row.total.is_some());
    out.line(&format!(
        "{} of {}{}; ±: to 95 %, as if samples were independent",
        grouped(groups.rows.len() as u64),
        counted(groups.groups_in_all as u64, "group"),
        match (has_total, sort) {
            (false, _) => "",
            (true, SortBy::Own) => " by self share",
            (true, SortBy::Total) => " by total share",
        },
    ));
    let shares: Vec<_> = groups
        .rows
        .iter()
        .map(|row| match is_single {
            true => one_event(row),
            false => side_by_side(row, sort),
        })
        .collect();
    let head = match (is_single, has_total) {
        (true, true) => format!(
            "{:>7} {:>7} {:>8} {:>12}  ",
            "self", "±", "total", "samples"
        ),
        (true, false) => format!("{:>7} {:>7} {:>12}  ", "share", "±", "samples"),
        (false, _) => {
            (0..groups.events.len())
                .map(|index| format!("{:>8} {:>6} ", format!("event {index}"), "±"))
                .collect::<String>()
                + " "
        }
    };
    table(&mut out, &head, &shares, groups);
    left_out(&mut out, groups);
    out.0
}

/// How many groups more there are.
fn left_out(out: &mut Out, groups: &Groups) {
    let more = groups.groups_in_all - groups.rows.len();
    if more == 0 {
        return;
    }
    let more = counted(more as u64, "more group");
    // Of programs that are started again and again there are a great many processes.
    let together = match groups.by.contains(&By::Process) {
        true => "; the processes of a program together: --by program",
        false => "",
    };
    out.line(&format!("({more}: --top N{together})"));
}

/// How many samples are counted, and which.
pub(crate) fn samples(out: &mut Out, samples: u64, only: &[String]) {
    let mut line = grouped(samples);
    if !only.is_empty() {
        line += &format!(" ({} only)", only.join(", "));
    }
    out.fact("samples", &line);
}

fn one_event(row: &Group) -> String {
    let (own, of) = (row.own[0], row.of[0]);
    let share = format!("{:>6.2}% {:>6.2}%", percent(own, of), error(own, of));
    match &row.total {
        Some(total) => format!(
            "{share} {:>7.2}% {:>12}  ",
            percent(total[0], of),
            grouped(own)
        ),
        None => format!("{share} {:>12}  ", grouped(own)),
    }
}

/// The share of each event, of what the rows are sorted by.
fn side_by_side(row: &Group, sort: SortBy) -> String {
    let samples = match (&row.total, sort) {
        (Some(total), SortBy::Total) => total,
        _ => &row.own,
    };
    let shares = samples.iter().zip(&row.of);
    let shares =
        shares.map(|(&part, &of)| format!("{:>7.2}% {:>6.2} ", percent(part, of), error(part, of)));
    shares.collect::<String>() + " "
}

/// The names of groups behind their shares, in columns; the last has the room that is left.
fn table(out: &mut Out, head: &str, shares: &[String], groups: &Groups) {
    const MOST: usize = 30;
    let names: Vec<Vec<String>> = groups
        .rows
        .iter()
        .map(|row| {
            row.name
                .iter()
                .map(|it| one_line(it).into_owned())
                .collect()
        })
        .collect();
    let last = groups.by.len() - 1;
    let mut room = WIDTH.saturating_sub(width(head)).max(20);
    let mut widths = Vec::new();
    for (place, by) in groups.by.iter().enumerate() {
        let widest = names.iter().map(|name| width(&name[place])).max();
        let widest = widest.unwrap_or(0).max(by.name().len());
        let columns = if place == last {
            room
        } else {
            widest.min(MOST)
        };
        widths.push(columns);
        room = room.saturating_sub(columns + 2).max(12);
    }
    let line = |shares: &str, names: &mut dyn Iterator<Item = &str>| {
        let columns = names.zip(&widths);
        let columns = columns.map(|(name, &columns)| padded(&keep_ends(name, columns), columns));
        format!("{shares}{}", columns.collect::<Vec<_>>().join("  "))
    };
    out.line(&line(head, &mut groups.by.iter().map(|by| by.name())));
    for (shares, name) in shares.iter().zip(&names) {
        out.line(&line(shares, &mut name.iter().map(|it| &**it)));
    }
}
