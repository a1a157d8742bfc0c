//! Writes a sample compact if it fits that.

use super::writer::{Lost, Writer};
use crate::format::Sample;
use crate::format::sample::{Chain, compact};

impl Writer<'_> {
    /// Appends a sample with the chain of `chain` in place of its own, compact if it fits that,
    /// or counts it as lost.
    ///
    /// # Errors
    ///
    /// [`Lost`] if the record did not fit.
    #[inline]
    pub fn write_sample(&self, sample: &Sample<'_>, chain: &mut Chain) -> Result<(), Lost> {
        if self.write_compact(sample, chain) {
            return Ok(());
        }
        self.write(chain.record(sample))
    }

    /// Returns false if it is not written, as it does not fit or others write meanwhile.
    #[inline]
    fn write_compact(&self, sample: &Sample<'_>, chain: &Chain) -> bool {
        let Some(in_place) = self.begin() else {
            return false;
        };
        let Some(context) = in_place.base().context() else {
            return false;
        };
        let chain_words = chain.words();
        let sample = Sample {
            chain_words,
            ..*sample
        };
        // SAFETY: an extent is valid for writes there until the write ends.
        let units = unsafe { compact::encode(&sample, context, self.text, in_place.bytes()) };
        let next = sample.sequence.wrapping_add(1);
        units.is_ok_and(|units| in_place.finish(units, next).is_ok())
    }
}
