//! Records of rings, and the description of a run.

use profiler::format::count::Count;
use profiler::format::description::DESCRIPTION_BYTES;
use profiler::format::event::NewEvent;
use profiler::format::sample::{Chain, MAX_WORDS};
use profiler::format::{Description, Sample, record_words};

use crate::input::words;

/// Words that a record has; where they are enough, a description as well.
///
/// # Panics
///
/// What is read is not written as it was.
pub fn record(data: &[u8]) {
    let words = words(data);
    let Some(&first) = words.first() else { return };
    let words = &words[..record_words(first).clamp(1, words.len())];
    if let Ok(sample) = Sample::decode(words) {
        written_as_read(&sample, words);
    }
    if let Ok(count) = Count::decode(words) {
        assert_eq!(Count::decode(&count.encode()), Ok(count));
        let scaled = count.reading.scaled();
        assert!(
            scaled.is_none_or(|scaled| scaled >= count.reading.count),
            "{count:?} is {scaled:?}"
        );
    }
    if let Some(event) = NewEvent::decode(words) {
        assert_eq!(NewEvent::decode(&event.encode()), Some(event));
    }
    if let Some(bytes) = data.first_chunk::<DESCRIPTION_BYTES>()
        && let Ok(description) = Description::decode(bytes)
    {
        let again = Description::decode(&description.encode());
        assert_eq!(again.as_ref(), Ok(&description));
        assert!(description.events().len() <= usize::from(description.event_count));
    }
}

fn written_as_read(sample: &Sample<'_>, words: &[u64]) {
    let mut record = [0; MAX_WORDS];
    let length = sample.encode(&mut record);
    assert_eq!(length, words.len());
    assert_eq!(Sample::decode(&record[..length]).as_ref(), Ok(sample));
    // The chain as well, if it is one that the walk could have made.
    let mut chain = Chain::new();
    let is_whole = sample.chain().all(|entry| chain.push(entry).is_ok());
    if is_whole && chain.words() == sample.chain_words {
        let mut made = Chain::new();
        sample
            .chain()
            .for_each(|entry| made.push(entry).expect("it fitted"));
        assert_eq!(made.record(sample), &record[..length]);
    }
    assert!(sample.chain().count() <= sample.chain_words.len());
}
