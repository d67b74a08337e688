//! The plain records of one batch at a time, decompressed where they have to be.

use crate::format::FormatError;
use crate::format::batch::{BATCH_HEADER_SIZE, BatchHeader, MAGIC_V2};
use crate::format::compression::{Codec, Decompressor};

/// The largest batch that is decompressed, in bytes of plain records. A batch is at most `max.message.bytes` when
/// compressed (1 MiB unless configured), so this allows for a ratio of 256 before it takes a batch for a bomb.
pub(super) const DECOMPRESSED_SIZE_MAX: usize = 256 << 20;

/// The plain records of one batch at a time; its memory is kept from batch to batch.
#[derive(Default)]
pub(super) struct RecordBuffer {
    decompressor: Decompressor,
    plain: Vec<u8>,
}

impl RecordBuffer {
    /// The records of a batch, uncompressed.
    ///
    /// # Errors
    /// When the codec is unknown or its data is damaged or too large.
    pub(super) fn records<'a>(
        &'a mut self,
        header: &BatchHeader,
        batch: &'a [u8],
    ) -> std::result::Result<&'a [u8], FormatError> {
        if self.load(header, batch)? { Ok(&self.plain) } else { Ok(&batch[BATCH_HEADER_SIZE..]) }
    }

    /// Whether the records had to be decompressed; if so, they are in [`RecordBuffer::plain`].
    pub(super) fn load(&mut self, header: &BatchHeader, batch: &[u8]) -> std::result::Result<bool, FormatError> {
        let codec = header.attributes.codec()?;
        if codec == Codec::None || header.record_count == 0 {
            return Ok(false);
        }
        let compressed = &batch[BATCH_HEADER_SIZE..];
        self.decompressor.decompress(codec, MAGIC_V2 as u8, compressed, &mut self.plain, DECOMPRESSED_SIZE_MAX)?;
        Ok(true)
    }

    /// The records that were decompressed last.
    #[inline]
    pub(super) fn plain(&self) -> &[u8] {
        &self.plain
    }
}
