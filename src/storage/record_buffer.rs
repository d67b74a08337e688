//! The plain records of one batch at a time, decompressed and brought to the newest format where they have to be.

use super::read_memory::{ReadMemory, Share};
use crate::format::FormatError;
use crate::format::compression::Codec;
use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader, MAGIC_V2};
use crate::format::legacy;
use crate::format::varint;

/// Memory up to this size is kept from batch to batch and while there is nothing to read.
const KEPT_MAX: usize = 64 << 10;

/// The plain records of one batch at a time; its memory is kept from batch to batch.
#[derive(Default)]
pub(super) struct RecordBuffer {
    share: Share,
    /// Decompressed records: all of a batch, or a window of them.
    plain: Vec<u8>,
    /// Where in all of the batch's records the window begins, and how many bytes those are.
    start: usize,
    whole: usize,
    /// Whether the records of the batch that was loaded last are in `plain`; if not, they are in the batch itself.
    is_in_plain: bool,
    /// Decompressed messages of an old format.
    messages: Vec<u8>,
}

impl RecordBuffer {
    /// One that shares its memory with others.
    pub(super) fn sharing(memory: &ReadMemory) -> Self {
        Self { share: Share::new(memory), ..Self::default() }
    }

    /// Prepares the records of a batch, of at most `size_max` plain bytes where they are compressed. Returns the header that
    /// applies to them: of a batch of an old format, another one.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] for more than `size_max`; otherwise when the codec is unknown or its data is damaged.
    pub(super) fn load(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        size_max: usize,
    ) -> std::result::Result<BatchHeader, FormatError> {
        self.load_from(header, batch, 0, size_max)
    }

    /// The same, but the records from `position` on are what is needed: those before may be left out, and as many of those
    /// behind as the memory of all readers does not allow. The record at `position` is whole.
    ///
    /// # Errors
    /// As [`RecordBuffer::load`].
    pub(super) fn load_from(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        position: usize,
        size_max: usize,
    ) -> std::result::Result<BatchHeader, FormatError> {
        (self.is_in_plain, self.start, self.whole) = (false, 0, 0);
        if header.magic != MAGIC_V2 {
            self.plain.clear();
            let (messages, plain) = (&mut self.messages, &mut self.plain);
            let mut decompressor = self.share.decompressor();
            let made = legacy::to_records(header, batch, &mut decompressor, messages, size_max, plain)?;
            drop(decompressor);
            self.keep_from(position);
            return Ok(made);
        }
        let codec = header.attributes.codec()?;
        if codec == Codec::None || header.record_count == 0 {
            return Ok(*header);
        }
        let compressed = &batch[BATCH_HEADER_SIZE..];
        let mut decompressor = self.share.decompressor();
        decompressor.decompress(codec, MAGIC_V2 as u8, compressed, &mut self.plain, size_max)?;
        drop(decompressor);
        self.keep_from(position);
        Ok(*header)
    }

    /// Of all records of a batch, which are in `plain`, keeps those that it may.
    fn keep_from(&mut self, position: usize) {
        (self.is_in_plain, self.whole) = (true, self.plain.len());
        let allowed = self.share.allowed(self.plain.capacity() + self.messages.capacity());
        if allowed < self.plain.capacity() + self.messages.capacity() {
            self.start = position.min(self.whole);
            let window = allowed.max(record_size(&self.plain[self.start..]));
            self.plain.truncate(self.start.saturating_add(window));
            self.plain.drain(..self.start);
            self.plain.shrink_to(KEPT_MAX.min(allowed));
            self.messages = Vec::new();
        }
        self.share.hold(self.plain.capacity() + self.messages.capacity());
    }

    /// The plain records of `batch`, which [`RecordBuffer::load`] was called with last; of those, the window that is here.
    #[inline]
    pub(super) fn records<'a>(&'a self, batch: &'a [u8]) -> &'a [u8] {
        if self.is_in_plain { &self.plain } else { &batch[BATCH_HEADER_SIZE..] }
    }

    /// Where in all of the batch's records the window begins.
    #[inline]
    pub(super) const fn start(&self) -> usize {
        self.start
    }

    /// Whether records follow the window.
    pub(super) fn is_cut(&self) -> bool {
        self.is_in_plain && self.start + self.plain.len() < self.whole
    }

    /// Whether it holds more than its share while all readers together hold too much.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.is_in_plain && self.plain.len() > KEPT_MAX && self.share.is_over()
    }

    /// Gives its memory back: what is wanted of the batch is to be loaded again.
    pub(super) fn give_back(&mut self) {
        if self.plain.capacity() + self.messages.capacity() > KEPT_MAX {
            (self.plain, self.messages) = (Vec::new(), Vec::new());
            self.share.hold(0);
        }
    }
}

/// The size of the record that `records` begins with, as its length says; 0 where that is none.
fn record_size(records: &[u8]) -> usize {
    let mut at = 0;
    let length = varint::read_i32(records, &mut at).ok().and_then(|length| usize::try_from(length).ok());
    length.map_or(0, |length| length.saturating_add(at))
}
