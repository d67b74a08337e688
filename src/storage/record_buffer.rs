//! The plain records of one batch at a time, decompressed and brought to the newest format where they have to be.

use crate::format::FormatError;
use crate::format::compression::{Codec, Decompressor};
use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader, MAGIC_V2};
use crate::format::legacy;

/// The largest batch that is decompressed, in bytes of plain records. A batch is at most `max.message.bytes` when
/// compressed (1 MiB unless configured), so this allows for a ratio of 256 before it takes a batch for a bomb.
pub(super) const DECOMPRESSED_SIZE_MAX: usize = 256 << 20;

/// The plain records of one batch at a time; its memory is kept from batch to batch.
#[derive(Default)]
pub(super) struct RecordBuffer {
    decompressor: Decompressor,
    plain: Vec<u8>,
    /// Decompressed messages of an old format.
    messages: Vec<u8>,
}

impl RecordBuffer {
    /// Makes the records of a batch ready. Returns the header that they go by, and whether they are in
    /// [`RecordBuffer::plain`]; if not, they stand in the batch itself, behind its header.
    ///
    /// # Errors
    /// When the codec is unknown or its data is damaged or too large.
    pub(super) fn load(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
    ) -> std::result::Result<(BatchHeader, bool), FormatError> {
        if header.magic != MAGIC_V2 {
            self.plain.clear();
            let (messages, plain) = (&mut self.messages, &mut self.plain);
            let made =
                legacy::to_records(header, batch, &mut self.decompressor, messages, DECOMPRESSED_SIZE_MAX, plain)?;
            return Ok((made, true));
        }
        let codec = header.attributes.codec()?;
        if codec == Codec::None || header.record_count == 0 {
            return Ok((*header, false));
        }
        let compressed = &batch[BATCH_HEADER_SIZE..];
        self.decompressor.decompress(codec, MAGIC_V2 as u8, compressed, &mut self.plain, DECOMPRESSED_SIZE_MAX)?;
        Ok((*header, true))
    }

    /// The records that [`RecordBuffer::load`] has put here.
    #[inline]
    pub(super) fn plain(&self) -> &[u8] {
        &self.plain
    }
}
