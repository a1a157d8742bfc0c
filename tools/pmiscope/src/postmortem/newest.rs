//! The last samples of each core.

use profiler::format::region::Region;
use profiler::format::sample::MAX_WORDS;
use profiler::format::{RecordHead, Sample, kind};

/// The last samples of a core, as their records, oldest first.
#[derive(Clone, Default)]
pub struct Newest {
    pub records: Vec<Vec<u64>>,
    /// Samples behind them that the ring had no room for.
    pub lost: u64,
    /// The ring cannot be read to its end.
    pub is_corrupt: bool,
}

impl Newest {
    /// One sample, by its record; none if that is empty.
    #[must_use]
    pub fn of_record(record: &[u64]) -> Self {
        let records = Some(record.to_vec()).filter(|record| !record.is_empty());
        Self {
            records: records.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The samples, newest first.
    pub fn samples(&self) -> impl Iterator<Item = Sample<'_>> {
        let records = self.records.iter().rev();
        records.filter_map(|record| Sample::decode(record).ok())
    }
}

/// The last `count` samples of each core that a region has, of those that nobody has read.
#[must_use]
pub fn newest_of(region: &Region<'_>, count: usize) -> Vec<Newest> {
    let cores = (0..region.cores()).map(|core| {
        let mut newest = Newest {
            lost: region.control(core).lost(),
            ..Newest::default()
        };
        let mut reader = region.reader(core);
        let mut record = [0; MAX_WORDS];
        loop {
            match reader.read(&mut record) {
                Ok(None) => break,
                Ok(Some(words)) if RecordHead::from_word(record[0]).kind == kind::SAMPLE => {
                    if newest.records.len() == count {
                        newest.records.remove(0);
                    }
                    newest.records.push(record[..words].to_vec());
                }
                Ok(Some(_)) => {}
                Err(_) => {
                    newest.is_corrupt = true;
                    break;
                }
            }
        }
        newest
    });
    cores.collect()
}
