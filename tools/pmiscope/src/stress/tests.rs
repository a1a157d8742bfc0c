//! What is drawn, and what is expected of that.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::profile::Mode;

fn at_hand() -> AtHand {
    AtHand {
        emulators: vec![Emulator::Stock, Emulator::Lab, Emulator::Strict],
        modes: vec![Mode::Deterministic, Mode::Deterministic, Mode::Realtime],
        memory: MOST_MEMORY,
        disc: Some("pmiscope.iso".into()),
        firmware: Some("OVMF.fd".into()),
        ..AtHand::default()
    }
}

fn draw(seed: u64, times: u32) -> Vec<Plan> {
    let at_hand = at_hand();
    (0..times)
        .map(|number| Plan::draw(&at_hand, seed, number))
        .collect()
}

#[test]
fn the_same_seed_draws_the_same_boots_and_each_alone() {
    let plans = draw(7, 100);
    assert_eq!(plans, draw(7, 100));
    assert_eq!(Plan::draw(&at_hand(), 7, 63), plans[63]);
    assert_ne!(plans, draw(8, 100));
}

#[test]
fn five_hundred_boots_have_every_value_of_every_axis() {
    for seed in 1..=20 {
        let mut axes: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for plan in draw(seed, 500) {
            for (axis, value) in plan.configuration.axes() {
                axes.entry(axis).or_default().insert(value);
            }
        }
        let cores = axes.remove("cores").unwrap_or_default();
        // Where `ipi` samples there are fewer than were dealt.
        let numbers: Vec<u32> = cores.iter().filter_map(|it| it.parse().ok()).collect();
        let (least, most) = (numbers.iter().min(), numbers.iter().max());
        assert!(
            least == Some(&1) && most >= Some(&253),
            "seed {seed}: {cores:?}"
        );
        assert!(cores.len() >= 36, "seed {seed}: {cores:?}");
        let counts: Vec<_> = axes
            .iter()
            .map(|(axis, values)| (*axis, values.len()))
            .collect();
        let expected = [
            ("QEMU", 3),
            ("boot", 3),
            ("counters", 7),
            ("machine", 7),
            ("memory", 10),
            ("mode", 2),
            ("period", 8),
            ("processor", 15),
            ("source", 12),
            ("workload", 13),
        ];
        assert_eq!(counts, expected, "seed {seed}: {axes:#?}");
    }
}

#[test]
fn each_command_is_one_that_the_tool_takes() {
    use clap::Parser as _;
    for plan in draw(3, 500) {
        let words = ["pmiscope", "run"].map(str::to_owned).into_iter();
        let words = words.chain(plan.words.iter().cloned());
        if let Err(error) = crate::cli::Cli::try_parse_from(words) {
            panic!("{}: {error}", plan.command());
        }
    }
}

#[test]
fn some_are_sampled_some_refused_and_some_may_be_either() {
    let plans = draw(1, 500);
    let count = |of: fn(&Expected) -> bool| plans.iter().filter(|it| of(&it.expected)).count();
    let sampled = count(|it| it.profile.is_some() && it.refusals.is_empty());
    let refused = count(|it| it.profile.is_none());
    assert!(sampled > 200 && refused > 40, "{sampled}, {refused}");
    assert!(
        plans
            .iter()
            .all(|it| it.expected.profile.is_some() || !it.expected.refusals.is_empty())
    );
}

#[test]
fn what_is_not_at_hand_is_said() {
    let missing = at_hand().missing();
    assert_eq!(missing.len(), 1, "{missing:?}");
    let nothing = AtHand::default().missing();
    let words = ["stock QEMU", "lab", "KVM", "Limine", "UEFI", "64 GiB"];
    assert_eq!(nothing.len(), words.len());
    for (line, word) in nothing.iter().zip(words) {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn without_a_disc_there_is_the_loader_alone() {
    let poor = AtHand {
        disc: None,
        firmware: None,
        memory: 4 << 30,
        ..at_hand()
    };
    for number in 0..100 {
        let command = Plan::draw(&poor, 1, number).command();
        assert!(!command.contains("--disc"), "{command}");
        assert!(!command.contains("67108864K"), "{command}");
    }
}
