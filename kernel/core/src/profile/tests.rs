//! What is counted, and how it is shown.

use std::fmt;

use super::*;

struct Numbered;

impl Names for Numbered {
    fn function(&self, offset: u32, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "f{offset}")
    }

    fn group(&self, group: u16, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "core {group}")
    }
}

fn shown(profile: &Profile, rows: usize, by_group: bool) -> Vec<String> {
    let mut text = String::new();
    let shown = Shown {
        profile,
        rows,
        by_group,
        names: &Numbered,
    };
    shown.write(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

const HEAD: &str = "  samples   share  function, and its callers";

fn call(offset: u32) -> Caller {
    Caller::Call(Function::At(offset))
}

#[test]
fn functions_are_shown_hottest_first_with_their_callers() {
    let mut profile = Profile::new();
    let (f, g) = (Function::At(0), Function::At(16));
    profile.add(0, f, call(64), 1);
    profile.add(0, g, call(64), 600);
    profile.add(0, g, call(80), 40);
    profile.add(0, g, Caller::Interrupted(f), 30);
    profile.add(0, g, Caller::Root, 20);
    profile.add(0, g, Caller::Unknown, 10);
    profile.add(
        0,
        Function::Unnamed,
        Caller::Interrupted(Function::Unnamed),
        299,
    );
    assert_eq!(
        shown(&profile, 2, false),
        [
            HEAD,
            "      700  70.00%  f16",
            "      600            < f64",
            "       40            < f80",
            "       30            < interrupt of f0",
            "       30            < 2 others",
            "      299  29.90%  (code without a name)",
            "      299            < interrupt of (code without a name)",
            "        1   0.10%  in 1 other function",
        ]
    );
    let all = shown(&profile, 9, false);
    assert_eq!(
        all[8..],
        ["        1   0.10%  f0", "        1            < f64"]
    );
    profile.clear();
    assert_eq!(
        (shown(&profile, 2, false), profile.total()),
        (vec![HEAD.to_owned()], 0)
    );
}

#[test]
fn what_is_no_return_is_shown_as_that() {
    let mut profile = Profile::new();
    profile.add(0, Function::At(1), Caller::Root, 2);
    profile.add(0, Function::At(1), Caller::Unknown, 1);
    assert_eq!(
        shown(&profile, 9, false)[1..],
        [
            "        3 100.00%  f1",
            "        2            < the root of its stack",
            "        1            < not known: the chain is cut",
        ]
    );
}

#[test]
fn groups_are_told_apart_and_shares_are_those_of_all() {
    let mut profile = Profile::new();
    for (group, function, samples) in [(7, 0, 50), (2, 0, 100), (2, 16, 50)] {
        profile.add(group, Function::At(function), call(64), samples);
    }
    assert_eq!(
        shown(&profile, 1, true),
        [
            "core 2: 150 samples,  75.00%",
            HEAD,
            "      100  50.00%  f0",
            "      100            < f64",
            "       50  25.00%  in 1 other function",
            "core 7: 50 samples,  25.00%",
            HEAD,
            "       50  25.00%  f0",
            "       50            < f64",
        ]
    );
}

/// The numbers of what a profile has beside what is shown by name.
fn rests(profile: &Profile, group: u16, samples: u64) -> (u64, u64) {
    let (_, of_functions) = profile.functions_of(group);
    let first = profile.functions(group).next().unwrap();
    let (_, of_callers) = profile.callers_of(&first);
    (samples - of_functions, first.samples - of_callers)
}

#[test]
fn what_has_no_room_is_the_rest_of_the_whole() {
    let mut profile = Profile::new();
    for number in 0..10_000_u32 {
        profile.add(0, Function::At(number * 16), call(0), 3);
    }
    assert_eq!(profile.total(), 30_000);
    let (functions, callers) = rests(&profile, 0, 30_000);
    assert!((23_000..25_500).contains(&functions), "{functions}");
    assert_eq!((functions % 3, callers), (0, 0));
    let lines = shown(&profile, 0, false);
    let others = (30_000 - functions) / 3;
    let last = format!(
        "    30000 100.00%  in {others} other functions, {functions} of them in more, for which there is no room"
    );
    assert_eq!(lines, [HEAD.to_owned(), last]);

    profile.clear();
    for number in 0..10_000_u32 {
        profile.add(0, Function::At(0), call(number * 16), 1);
    }
    let (functions, callers) = rests(&profile, 0, 10_000);
    assert_eq!(functions, 0);
    assert!((5_900..7_500).contains(&callers), "{callers}");
    let lines = shown(&profile, 1, false);
    assert_eq!(lines[1], "    10000 100.00%  f0");
    let others = 10_000 - callers - 3;
    let last = format!(
        "     9997            < {others} others, {callers} of them more, for which there is no room"
    );
    assert_eq!(lines[5..], [last]);

    profile.clear();
    for group in 0..2000 {
        profile.add(group, Function::At(0), Caller::Root, 5);
    }
    let groups: u64 = profile.groups().map(|(_, samples)| samples).sum();
    assert!(profile.groups().is_sorted() && groups < 10_000);
    let last = shown(&profile, 1, true).pop().unwrap();
    let rest = 10_000 - groups;
    assert!(last.starts_with(&format!(
        "others, for which there is no room: {rest} samples,"
    )));
}

#[test]
fn numbers_are_what_they_were_made_of() {
    let functions = [0, 1, 0x7fff_0000].map(Function::At);
    for function in functions.into_iter().chain([Function::Unnamed]) {
        for caller in [
            Caller::Call(function),
            Caller::Interrupted(function),
            Caller::Root,
            Caller::Unknown,
        ] {
            assert_eq!(Caller::of(caller.number()), caller);
        }
        assert_eq!(Function::of(function.number()), function);
    }
    assert_eq!(Function::At(u32::MAX).number(), Function::Unnamed.number());
}
