//! What the host is told of a run, in the region that is made for it.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::aim::Calibrated;
use super::asked;
use super::period::Period;
use crate::contract::settings::Settings;
use crate::format::description::MAX_TASKS;
use crate::format::region::Region;
use crate::format::{AimDescription, Clock, Description, Text};
use crate::sampler::Sampler;
use crate::sampler::config::Config;
use crate::sampler::counting::Counting;
use crate::sampler::error::StartError;
use crate::sampler::memory::Memory;
use crate::sampler::per_core::{Output, Share};
use crate::sampler::round_robin::RoundRobin;
use crate::sampler::run::{Run, RunTiming};
use crate::sampler::source::Source;
use crate::sampler::source::pmu::Jitter;
use crate::sampler::target::Target;

impl<T: Target> Sampler<T> {
    /// Makes the region and tells the host what the run is.
    pub(super) fn describe<'a>(
        &'static self,
        memory: &Memory,
        config: &Config<'_>,
        settings: &Settings<'_>,
        calibrated: Calibrated,
        counting: Option<Counting>,
        period: Period,
    ) -> Result<Run, StartError<'a>> {
        let Calibrated {
            source,
            clock,
            overhead,
            aimed,
            ..
        } = calibrated;
        let takes_turns = clock.clock == Clock::Instructions && source.is_one_shot();
        let cores = self.engine.cores.count();
        let there = memory.len();
        let asked = [settings.ring_bytes / 8, settings.bytes_of_table()];
        let [ring_words, table_bytes] = memory.sizes(cores, asked);
        let mut description = Description {
            cores,
            ring_words,
            table_bytes,
            turns: takes_turns,
            samples: counting.as_ref().map_or(settings.samples, |_| 0),
            ..description_of(config, settings, &calibrated, &period)
        };
        note_sizes(&mut description, settings);
        let region = memory
            .region(&description)
            .map_err(|needed| StartError::RegionTooSmall { needed, there })?;
        self.set_outputs(region, settings.samples);
        Ok(Run {
            region,
            source,
            delivery: settings.delivery,
            timing: RunTiming {
                clock,
                overhead,
                start_tsc: AtomicU64::new(0),
            },
            arming: period.arming,
            aimed,
            round_robin: takes_turns.then(RoundRobin::new),
            counting,
            control: period.control(asked::jitter(settings)),
            active: AtomicU32::new(cores),
        })
    }

    /// Gives each core its ring, and its share of the samples.
    fn set_outputs(&'static self, region: Region<'static>, samples: u64) {
        for core in self.engine.cores.all() {
            let limit = Share::of_core(core.index, region.cores(), samples);
            core.share.set_limit(limit);
            let counters = region.counters(core.index);
            counters.apic_id.store(core.apic_id.into(), Relaxed);
            // SAFETY: only that core writes to its output, in handlers which end before what
            // they interrupted resumes; or the first core in its stead, while the core does
            // not sample.
            let output = unsafe { Output::of_core(region, core.index) };
            counters.note_costs(core, output.overheads(0), output.writer.fast());
            core.output.set(output);
        }
    }
}

/// Says in the description that the rings or the tables are not of the size that was asked for.
fn note_sizes(description: &mut Description, settings: &Settings<'_>) {
    for (what, bytes, asked) in [
        ("rings", description.ring_words * 8, settings.ring_bytes),
        ("tables", description.table_bytes, settings.bytes_of_table()),
    ] {
        if bytes != asked {
            let [kib, asked] = [bytes >> 10, asked >> 10];
            let note = format_args!("{what} of {kib} KiB, as {asked} do not fit");
            description.reason.append_item("; ", note);
        }
    }
}

/// What is known of a run beside its cores and what they do.
fn description_of(
    config: &Config<'_>,
    settings: &Settings<'_>,
    calibrated: &Calibrated,
    period: &Period,
) -> Description {
    // Only counters have it.
    let jitter = match calibrated.source {
        Source::Pmu(_) => asked::jitter(settings),
        _ => Jitter::default(),
    };
    let differences = &calibrated.clock.differences;
    Description {
        build_id: config.build_id,
        cores: 0,
        ring_words: 0,
        source: calibrated.source.kind(),
        delivery: settings.delivery,
        clock: calibrated.clock.clock,
        turns: false,
        period: period.ticks,
        period_floor: calibrated.overhead.min_period,
        overhead: calibrated.clock.ticks(calibrated.overhead.ticks),
        samples: 0,
        text: config.text,
        stack_slot: config.stack_slot,
        reason: calibrated.reason,
        bootloader: config.bootloader,
        workload: Text::new(config.workload),
        command_line: Text::new(config.command_line),
        tasks: names_of_tasks(config.task_name),
        event_table: period.event_table,
        event_count: period.event_count,
        aim: calibrated
            .aimed
            .as_ref()
            .map_or(AimDescription::NONE, |it| it.aim.into()),
        seed: jitter.seed,
        jitter: jitter.percent,
        clock_reference: calibrated.clock.reference,
        clock_within: calibrated.clock.within,
        tsc_difference: calibrated.clock.ticks(differences.largest),
        tsc_within: u32::try_from(calibrated.clock.ticks(differences.within)).unwrap_or(u32::MAX),
        table_bytes: 0,
    }
}

fn names_of_tasks(name: fn(u16) -> &'static str) -> [Text<32>; MAX_TASKS] {
    let mut numbers = 0..;
    [(); MAX_TASKS].map(|()| Text::new(numbers.next().map_or("", name)))
}
