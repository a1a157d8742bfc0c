//! What the kernel tells of itself while it runs: locks and who holds them, cores that hang, where
//! the time goes.

use std::collections::BTreeMap;

use pmiscope::profile::Outcome::Finished;

use profiler::contract::task_number::TaskNumbers;
use profiler::format::account::AccountKind;
use profiler::format::{ChainEntry, State};

use crate::fixture::{Guest, Samples, Seen, run};
use crate::pmu::is_skipped;

/// What the command's output in a log is, each time that it was shown.
#[track_caller]
fn shown<'a>(log: &'a str, command: &str) -> Vec<Vec<&'a str>> {
    let begin = format!("[INFO core0] {command}\n");
    let mut all = Vec::new();
    for part in log.split(&begin).skip(1) {
        let (output, _) = part.split_once("\n-- end --").expect("an end");
        all.push(output.lines().collect());
    }
    all
}

/// The name of the function in a line, behind its address.
fn function_in(line: &str) -> &str {
    let (_, symbol) = line.split_once(">] ").expect("an address with a name");
    symbol.rsplit_once("+0x").expect("a distance").0
}

/// The numbers of the row of a lock: how often it was contended, the longest wait and hold.
#[track_caller]
fn row(output: &[&str], lock: &str) -> [u64; 3] {
    let is_it = |line: &&&str| line.starts_with(&format!("{lock:<16} "));
    let line = output.iter().find(is_it).expect("a row of the lock");
    let numbers = line[16..].split_whitespace().take(3);
    let numbers = numbers.map(|it| it.parse().unwrap());
    numbers.collect::<Vec<u64>>().try_into().unwrap()
}

#[test]
fn locks_say_who_holds_them_and_where_they_were_taken() {
    let log = Guest::boot(3, 64, "test=locks locks=on")
        .ended_with(Finished, &["`1` is one word too many"])
        .log;
    let [during, after] = shown(&log, "locks").try_into().expect("two outputs");
    println!("{during:#?} {after:#?}");
    let names: Vec<_> = during[1..]
        .iter()
        .filter(|line| !line.starts_with("  ") && !line.starts_with("-: "))
        .map(|line| line[..16].trim_end())
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "frames",
            "futexes",
            "heap",
            "outer test lock",
            "page tables",
            "processes",
            "ready tasks",
            "serial wire",
            "space",
            "spaces",
            "task numbers",
            "test lock",
        ]
    );
    // One core holds both, another one waits for the inner one.
    let users = |lock: &str| -> Vec<&str> {
        let behind = during
            .iter()
            .skip_while(|line| !line.starts_with(&format!("{lock:<16} ")));
        let users = behind.skip(1).take_while(|line| line.starts_with("  "));
        users.copied().collect()
    };
    let own = |name: &str| format!("kernel::selftest::watch::{name}");
    let [outer] = users("outer test lock").try_into().unwrap();
    assert!(outer.starts_with("  held by core 1, for "), "{outer}");
    assert_eq!(function_in(outer), own("hold_both"));
    let [inner, waiter] = users("test lock").try_into().unwrap();
    assert!(inner.starts_with("  held by core 1, for "), "{inner}");
    assert_eq!(function_in(inner), own("hold_inner"));
    assert!(waiter.starts_with("  core 2 has waited for "), "{waiter}");
    assert_eq!(users("frames"), [""; 0]);
    // What lasts is not counted yet.
    assert_eq!(row(&during, "test lock"), [0, 0, 0]);
    let [contended, wait, hold] = row(&after, "test lock");
    assert_eq!(contended, 1);
    assert!(0 < wait && wait < hold, "{wait} and {hold} ticks");
    let [contended, wait, outer_hold] = row(&after, "outer test lock");
    assert_eq!([contended, wait], [0, 0]);
    assert!(outer_hold > hold, "{outer_hold} and {hold} ticks");
    // Nobody holds any more.
    assert!(!after.iter().any(|line| line.starts_with("  ")), "{log}");
}

#[test]
fn without_being_asked_nobody_measures_how_long_locks_are_held() {
    let log = Guest::boot(3, 64, "test=locks")
        .ended_with(Finished, &[])
        .log;
    let [during, after] = shown(&log, "locks").try_into().expect("two outputs");
    let is_held = |line: &&&str| line.starts_with("  held by core 1, taken at [<0x");
    assert_eq!(during.iter().filter(is_held).count(), 2, "{during:#?}");
    for output in [&during[..], &after] {
        let rows = output.iter().filter(|line| line.ends_with(" -"));
        assert_eq!(rows.count(), 12, "{output:#?}");
        assert_eq!(
            output.last(),
            Some(&"-: with locks=on or watchdog= on the command line")
        );
    }
}

/// At each instruction: the lock's name begins and ends with interrupts off, and is the one of the
/// heap, within which a frame may be taken.
#[test]
fn samples_of_a_core_that_holds_a_lock_say_which_and_whose() {
    let line = "workload=heap locks=on period=1 samples=100000";
    let guest = Guest::boot(1, 64, line).ended_with(Finished, &[]);
    let samples = guest.samples(line);
    samples.assert_whole(1, 100_000);
    let names = || samples.description.tasks.iter().map(|name| name.as_str());
    let numbers = TaskNumbers::of_names(names()).expect("names of locks");
    let mut locks: BTreeMap<String, u32> = BTreeMap::new();
    let mut tasks: BTreeMap<String, u32> = BTreeMap::new();
    let (mut held, mut off) = (0, 0);
    for seen in samples.all() {
        let name = |number: u16| names().nth(number.into()).unwrap_or_default().to_owned();
        let task = name(numbers.task(seen.task));
        let is_on = seen.state.has(State::INTERRUPTS_ON);
        let lock = numbers.lock(seen.task);
        if let Some(lock) = lock.map(|lock| name(numbers.tasks + lock)) {
            // The first are of the start of the task.
            let is_start = ["lock: ready tasks", "lock: task numbers"].contains(&&*lock);
            let is_heaps = ["lock: heap", "lock: frames"].contains(&&*lock);
            assert!(is_heaps || is_start && seen.sequence < 5000, "{seen:x?}");
            assert!(!is_on, "{seen:x?}");
            // The task stays what it was.
            assert!(!is_heaps || task == "heap", "{lock} is held by {task}");
            *locks.entry(lock).or_default() += 1;
            held += 1;
        }
        assert!(["heap", "kernel"].contains(&&*task), "{task}");
        *tasks.entry(task).or_default() += 1;
        off += u32::from(!is_on);
    }
    // A frame is taken within the heap's lock.
    assert!(
        locks["lock: heap"] > 1000 && locks.contains_key("lock: frames"),
        "{locks:?}"
    );
    assert!(tasks["heap"] > 90_000, "{tasks:?}");
    println!("{held} of {off}");
    // The rest is of taking the lock and giving it back.
    assert!(
        off > 20_000 && held < off && 3 * held > off,
        "{held} of {off}"
    );
    // Without the word, no sample has the name of a lock.
    let line = "workload=heap period=100 samples=2000";
    let samples = Guest::boot(1, 64, line)
        .ended_with(Finished, &[])
        .samples(line);
    let is_known = |task: &str| ["heap", "kernel"].contains(&task);
    assert!(samples.all().all(|seen| is_known(samples.task(&seen))));
    let names = samples.description.tasks.iter().map(|name| name.as_str());
    assert_eq!(names.filter(|name| name.starts_with("lock")).count(), 0);
}

/// The kernel's own profile by locks counts what the host reads of the same samples.
#[test]
fn a_profile_made_in_the_kernel_is_by_locks_as_well() {
    let line = "test=profile-in-kernel locks=on samples=20000 period=100";
    let guest = Guest::boot(2, 64, line).ended_with(Finished, &[]);
    let (_, shown) = guest
        .log
        .split_once("monitor> prof top by lock\n20000 samples ")
        .expect("a profile by locks");
    let (shown, _) = shown.split_once("monitor> ").unwrap();
    let in_kernel: BTreeMap<String, u32> = shown
        .lines()
        .filter_map(|line| line.split_once(" sample")?.0.rsplit_once(": "))
        .map(|(lock, samples)| (lock.to_owned(), samples.parse().unwrap()))
        .collect();
    let samples = guest.samples(line);
    let names: Vec<_> = samples.description.tasks.iter().collect();
    let numbers = TaskNumbers::of_names(names.iter().map(|name| name.as_str())).unwrap();
    let mut counted = BTreeMap::new();
    for seen in samples.all() {
        let lock = numbers.lock(seen.task).map_or("no lock", |lock| {
            names[usize::from(numbers.tasks + lock)].as_str()
        });
        *counted.entry(lock.to_owned()).or_default() += 1;
    }
    assert_eq!(in_kernel, counted, "{shown}");
    assert!(counted.len() > 1, "no lock was held: {counted:?}");
    // So has `locks`, as shares.
    let (_, table) = guest.log.split_once("monitor> locks\n").unwrap();
    let (table, _) = table.split_once("monitor> ").unwrap();
    for name in &names[usize::from(numbers.tasks)..] {
        let name = name.as_str();
        let Some(lock) = name.strip_prefix("lock: ") else {
            continue;
        };
        let share = counted.get(name).copied().unwrap_or(0) * 10_000 / 20_000;
        let expected = format!(" {}.{:02} %", share / 100, share % 100);
        let row = table
            .lines()
            .find(|line| line.starts_with(&format!("{lock:<16} ")));
        assert!(
            row.unwrap().ends_with(&expected),
            "{lock}: {expected}: {table}"
        );
    }
}

/// What the watchdog said of a core.
#[derive(Debug)]
struct Hang<'a> {
    head: &'a str,
    /// Of its locks.
    locks: Vec<&'a str>,
    /// The names of its frames.
    frames: Vec<&'a str>,
}

/// What the watchdog says in a log of cores that hang, by what begins each line.
fn hangs(log: &str) -> Vec<Hang<'_>> {
    let mut lines = log.lines();
    let mut hangs = Vec::new();
    while let Some(line) = lines.next() {
        let Some((_, head)) = line.split_once("] watchdog: core ") else {
            continue;
        };
        if !head.contains("has had interrupts off for") {
            continue;
        }
        let report: Vec<_> = lines
            .by_ref()
            .take_while(|line| !line.starts_with("-- chain: "))
            .collect();
        hangs.push(Hang {
            head,
            locks: report
                .iter()
                .filter(|line| line.starts_with("  "))
                .copied()
                .collect(),
            frames: report
                .iter()
                .filter(|line| line.starts_with('#'))
                .map(|line| function_in(line))
                .collect(),
        });
    }
    hangs
}

#[test]
fn a_core_that_waits_for_a_lock_for_ever_is_named_with_the_lock_and_its_holder() {
    let line = "test=hang-on-lock-midway watchdog=2 samples=40000 period=1000";
    let guest = Guest::boot(4, 64, line).ended_with(Finished, &["sampling: done"]);
    println!("{}", guest.log);
    let own = |name: &str| format!("kernel::selftest::watch::{name}");
    let hangs = hangs(&guest.log);
    let of = |core: u32| {
        let begins = format!("{core} has had interrupts off for ");
        let of: Vec<_> = hangs
            .iter()
            .filter(|hang| hang.head.starts_with(&begins))
            .collect();
        assert_eq!(of.len(), 1, "reports of core {core}: {hangs:#?}");
        of[0]
    };
    let [holder, waiter] = [2, 3].map(of);
    assert_eq!(hangs.len(), 2, "{hangs:#?}");
    let [held] = holder.locks[..].try_into().unwrap();
    assert!(
        held.starts_with("  it holds the lock `test lock`, for "),
        "{held}"
    );
    assert_eq!(function_in(held), own("hold_for_long"));
    assert!(
        holder.frames.contains(&&*own("hold_for_long")),
        "{holder:#?}"
    );
    let [awaited] = waiter.locks[..].try_into().unwrap();
    let begins = "  it has waited for the lock `test lock` for ";
    assert!(awaited.starts_with(begins), "{awaited}");
    assert!(
        awaited.contains(" ms, which core 2 holds, for "),
        "{awaited}"
    );
    assert_eq!(function_in(awaited), own("hold_for_long"));
    assert!(
        waiter.frames.contains(&&*own("take_for_a_moment")),
        "{waiter:#?}"
    );
    for core in [2, 3] {
        let goes_on = format!("watchdog: core {core} goes on after ");
        assert_eq!(guest.log.matches(&goes_on).count(), 1, "{}", guest.log);
    }
    // Its NMIs are no samples, nor does one of the sampler's get lost.
    let samples = guest.samples(line);
    samples.assert_whole(4, 40_000);
    for core in &samples.counters {
        assert_eq!(core.unclaimed, 0, "{:?}", samples.counters);
    }
}

/// By counters, by maskable interrupts, and where cores run in parallel by the clock; and time is
/// accounted for there.
#[test]
fn a_core_that_hangs_is_found_by_any_source() {
    let lab = ["--qemu lab"].into_iter().filter(|_| !is_skipped());
    let others = [
        "--qemu stock --delivery irq",
        "--qemu stock --mode realtime --period 1000000",
    ];
    for arguments in lab.chain(others) {
        let run = run(&format!(
            "{arguments} --self-test hang-on-lock-midway --samples 40000 --verbose \
             --append watchdog=2 --append accounting=on"
        ))
        .ended_with(0);
        let log = run.said();
        let hangs = hangs(&log);
        for core in [2, 3] {
            let begins = format!("{core} has had interrupts off for ");
            assert!(
                hangs.iter().any(|hang| hang.head.starts_with(&begins)),
                "{arguments}: core {core}: {log}"
            );
            let goes_on = format!("watchdog: core {core} goes on after ");
            assert!(log.contains(&goes_on), "{arguments}: {log}");
        }
        // On a busy host all may be over when the NMI arrives, but not by the instruction.
        let mut locks = hangs.iter().flat_map(|hang| &hang.locks);
        let is_named = locks.any(|lock| lock.contains("the lock `test lock`"));
        assert!(
            is_named || arguments.contains("realtime"),
            "{arguments}: {log}"
        );
        let samples = run.samples();
        // Where cores wait for their turns by maskable interrupts, some come too late to be samples.
        for end in &samples.counters {
            assert_eq!((end.stored, end.lost), (10_000, 0), "{arguments}: {end:?}");
            // It was interrupted by more than samples.
            assert!(end.accounts.len() >= 2, "{arguments}: {end:?}");
        }
    }
}

#[test]
fn the_watchdog_has_nothing_to_say_of_the_mix() {
    let line = "watchdog=2 samples=40000 period=1000";
    let guest = Guest::boot(4, 64, line).ended_with(Finished, &["sampling: done"]);
    assert!(!guest.log.contains("watchdog:"), "{}", guest.log);
    guest.samples(line).assert_whole(4, 40_000);
}

/// The vector of NMIs, and that of `int 0x80`.
const NMI: u8 = 2;
const CALL: u8 = 0x80;

/// What of a core's time is on which account, in percent: as the kernel says, and as samples have it.
#[derive(Debug, Default)]
struct Shares {
    accounts: BTreeMap<String, f64>,
    samples: BTreeMap<String, f64>,
    /// Of samples, and of waiting in them.
    taken: u64,
    all: u64,
}

/// What the time of a sample is accounted for as.
fn account_of(seen: &Seen, samples: &Samples) -> String {
    // A system call is the task's own time, and a page fault its vector's.
    let vector = seen.chain.iter().find_map(|entry| match *entry {
        ChainEntry::Crossing { vector, .. } => Some(vector).filter(|vector| *vector != NMI),
        ChainEntry::Border { vector, .. } => vector.filter(|vector| *vector != CALL),
        _ => None,
    });
    let task = samples.task(seen);
    match vector {
        _ if seen.state.has(State::IDLE) => "idle".into(),
        _ if seen.state.has(State::RING) => format!("user {task}"),
        Some(vector) => format!("interrupt {vector}"),
        None => format!("task {task}"),
    }
}

/// What the kernel says at the end of a run of all cores, beside what each core's samples say.
#[track_caller]
fn shares(log: &str, samples: &Samples) -> Vec<Shares> {
    let [output] = shown(log, "time").try_into().expect("one output");
    let mut cores: Vec<Shares> = Vec::new();
    for line in output {
        if let Some(core) = line.strip_prefix("core ") {
            let (number, ticks) = core.split_once(": ").unwrap();
            assert_eq!(number, cores.len().to_string());
            cores.push(Shares {
                all: ticks.strip_suffix(" ticks").unwrap().parse().unwrap(),
                ..Shares::default()
            });
            continue;
        }
        let core = cores.last_mut().unwrap();
        let (share, account) = line.trim().split_once(" % ").unwrap();
        let (ticks, account) = account.trim().split_once("  ").unwrap();
        let ticks: u64 = ticks.parse().unwrap();
        let percent = ticks as f64 * 100.0 / core.all as f64;
        assert!(
            (percent - share.parse::<f64>().unwrap()).abs() < 0.01,
            "{line}"
        );
        if account.starts_with("samples") {
            core.taken = ticks;
        } else {
            core.accounts.insert(account.into(), ticks as f64);
        }
    }
    for (number, core) in cores.iter_mut().enumerate() {
        let own: f64 = core.accounts.values().sum();
        // To the last tick.
        let rest = own - (core.all - core.taken) as f64;
        assert!(rest.abs() < 0.5, "core {number}: {rest}");
        core.accounts.values_mut().for_each(|it| *it *= 100.0 / own);
        let count = samples.cores[number].len() as f64;
        for seen in samples.of(number) {
            let account = account_of(&seen, samples);
            *core.samples.entry(account).or_default() += 100.0 / count;
        }
    }
    cores
}

/// What the entry to and the exit from the kernel take is on the account of what is outside.
#[test]
fn time_in_user_mode_is_on_accounts_of_its_own() {
    let line =
        "--smp 4 --workload process-arithmetic --period 997 --samples 60000 --append accounting=on";
    let samples = run(line).ended_with(0).samples();
    for (number, end) in samples.counters.iter().enumerate() {
        let mut shares: BTreeMap<String, [f64; 2]> = BTreeMap::new();
        let own = end.accounts.iter();
        let own = own.filter(|it| it.kind != AccountKind::Samples as u8);
        let all: u64 = own.clone().map(|account| account.ticks).sum();
        for account in own {
            let kind = AccountKind::try_from(account.kind).unwrap();
            let name = match kind {
                AccountKind::Task | AccountKind::User => {
                    let name = samples.description.tasks[usize::from(account.number)];
                    format!("{kind} {}", name.as_str())
                }
                AccountKind::Interrupt => format!("{kind} {}", account.number),
                AccountKind::Idle | AccountKind::Samples => kind.to_string(),
            };
            shares.entry(name).or_default()[0] += account.ticks as f64 * 100.0 / all as f64;
        }
        let count = samples.cores[number].len() as f64;
        for seen in samples.of(number) {
            shares.entry(account_of(&seen, &samples)).or_default()[1] += 100.0 / count;
        }
        println!("core {number}: {shares:.2?}");
        let [accounted, sampled] = shares["user process-arithmetic"];
        assert!(
            accounted > 30.0 && (accounted - sampled).abs() < 0.5,
            "{shares:.2?}"
        );
        // A program and its calls together.
        let mut together: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
        for (name, both) in &shares {
            let name = name.trim_start_matches("user ").trim_start_matches("task ");
            let sum = together.entry(name).or_default();
            *sum = [sum[0] + both[0], sum[1] + both[1]];
        }
        for (name, [accounted, sampled]) in &together {
            let difference = (accounted - sampled).abs();
            assert!(difference < 1.0, "core {number}: {name}: {together:.2?}");
        }
    }
}

#[test]
fn accounts_add_up_and_have_the_shares_of_samples() {
    let line = "accounting=on samples=100000 period=1000";
    let guest = Guest::boot(4, 64, line).ended_with(Finished, &[]);
    let samples = guest.samples(line);
    samples.assert_whole(4, 100_000);
    let cores = shares(&guest.log, &samples);
    println!("{cores:#?}");
    assert_eq!(cores.len(), 4);
    for (core, end) in cores.iter().zip(&samples.counters) {
        // The same, but for what the core that shows it has done meanwhile, is left to the host.
        let left: u64 = end.accounts.iter().map(|account| account.ticks).sum();
        assert!(
            left <= core.all && core.all - left < core.all / 100,
            "{left}: {core:#?}"
        );
        assert_eq!(end.accounts.len(), core.accounts.len() + 1, "{end:?}");
    }
    for core in &cores {
        let names = core.accounts.keys().chain(core.samples.keys());
        for name in names {
            let [accounted, sampled] =
                [&core.accounts, &core.samples].map(|it| it.get(name).copied().unwrap_or(0.0));
            let difference = (accounted - sampled).abs();
            assert!(
                difference < 1.0,
                "{name}: {accounted} and {sampled} %: {core:#?}"
            );
        }
    }
}
