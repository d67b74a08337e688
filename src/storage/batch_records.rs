//! The records of a batch that a [`LogReader`] has shown, whatever kind of batch it is: for who replays a log of changes.

use super::record_buffer::RecordBuffer;
use super::transactions::control_type;
use super::{LogReader, Result, at_place};
use crate::format::header::BatchHeader;
use crate::format::record::Record;
use crate::format::record_cursor::RecordCursor;
use crate::format::txn::ControlType;
use crate::units::Offset;

/// Opens batches; its memory is kept from one to the next.
#[derive(Default)]
pub struct BatchRecords(RecordBuffer);

impl BatchRecords {
    /// The type of the control batch that `log` has shown last; `None` where it holds no record.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn control_type(&mut self, log: &LogReader, header: &BatchHeader) -> Result<Option<ControlType>> {
        control_type(&mut self.0, log, header)
    }

    /// Shows the records of the batch that `log` has shown last, in order.
    ///
    /// # Errors
    /// When they cannot be read, after those before.
    pub fn each(
        &mut self,
        log: &LogReader,
        header: &BatchHeader,
        show: &mut dyn FnMut(Offset, Record<'_>),
    ) -> Result<()> {
        let (path, position) = log.place();
        let at_batch = |error| at_place(error, path, position, header.base_offset);
        let header = self.0.load(header, log.batch(), log.decompressed_size_max()).map_err(at_batch)?;
        let records = self.0.records(log.batch());
        let mut cursor = RecordCursor::new(&header);
        while let Some(span) = cursor.next(records).map_err(at_batch)? {
            show(header.base_offset + i64::from(span.offset_delta), span.record(records));
        }
        Ok(())
    }
}
