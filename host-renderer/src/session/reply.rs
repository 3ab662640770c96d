//! Answers to calls: written in place into the reply area, kept aside when they are larger.

use std::sync::Arc;

use vw_transport::{Region, SHORT_REPLY};
use vw_wire_protocol::codec::{EncodeError, Writer};
use vw_wire_protocol::record::MAX_RECORD;

use super::end::{End, violation};

/// The reply area of a session.
#[derive(Debug)]
pub struct Replies {
    region: Arc<Region>,
    /// The last reply, if it is larger than the area.
    large: Vec<u8>,
}

impl Replies {
    /// The reply area of `region`.
    pub fn new(region: Arc<Region>) -> Self {
        Self { region, large: Vec::new() }
    }

    /// Answers the outstanding call with what `write` writes; it may be called several times and writes the same each time.
    ///
    /// # Errors
    /// [`End::Internal`] when the answer is larger than any may be.
    pub fn post(&mut self, write: impl Fn(&mut Writer<'_>)) -> Result<(), End> {
        self.large = Vec::new();
        let mut words = [0; SHORT_REPLY / size_of::<u64>()];
        let mut writer = Writer::new(bytemuck::bytes_of_mut(&mut words));
        write(&mut writer);
        if let Ok(length) = writer.finish() {
            self.region.control().post_short_reply(words, length);
            return Ok(());
        }
        let (area, size) = self.region.reply();
        // SAFETY: the area is mapped as long as the region, and only this thread writes to it.
        let mut writer = unsafe { Writer::from_raw(area.as_ptr(), size) };
        write(&mut writer);
        let length = match writer.finish() {
            Ok(length) => length,
            Err(EncodeError::Overflow { needed }) if needed <= MAX_RECORD => {
                self.large.reserve_exact(needed);
                let mut writer = Writer::growing(&mut self.large, needed);
                write(&mut writer);
                let length = writer.finish().map_err(|error| End::Internal(format!("a reply: {error}")))?;
                self.copy(0);
                length
            }
            Err(error) => return Err(End::Internal(format!("a reply: {error}"))),
        };
        self.region.control().post_reply(length as u32);
        Ok(())
    }

    /// Answers with the part of the last reply from `offset` on.
    ///
    /// # Errors
    /// A violation when the last reply was not larger than the area, or not than `offset`.
    pub fn fetch(&mut self, offset: u64) -> Result<(), End> {
        let length = self.large.len();
        let offset = usize::try_from(offset).ok().filter(|offset| *offset < length).ok_or_else(|| {
            violation(format!(
                "the part from {offset} on of a reply of which {length} bytes are kept was asked for"
            ))
        })?;
        self.copy(offset);
        self.region.control().post_reply(length as u32);
        Ok(())
    }

    fn copy(&self, offset: usize) {
        let (area, size) = self.region.reply();
        let part = &self.large[offset..];
        let length = part.len().min(size);
        // SAFETY: the area has `size` bytes, and only this thread writes to it.
        unsafe { part.as_ptr().copy_to_nonoverlapping(area.as_ptr(), length) };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use vw_transport::Limits;

    use super::*;

    fn region() -> Arc<Region> {
        let limits =
            Limits { reply_size: 4096, window_size: 1 << 16, arena_size: 1 << 16, ..Limits::default() };
        Arc::new(Region::create(&limits).unwrap().0)
    }

    fn area(region: &Region, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        // SAFETY: the area is at least `length` bytes long in these tests.
        unsafe { region.reply().0.as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), length) };
        bytes
    }

    #[test]
    fn reply_when_small_stands_beside_its_number_or_in_the_area() {
        let region = region();
        let control = region.control();
        let mut replies = Replies::new(Arc::clone(&region));
        replies.post(|w| (1..=7).for_each(|n| w.put_u64(n))).unwrap();
        assert_eq!((control.reply_seq(), control.reply_len()), (1, SHORT_REPLY as u32));
        assert_eq!(control.short_reply(), Some([1, 2, 3, 4, 5, 6, 7]));
        replies.post(|w| (1..=8).for_each(|n| w.put_u64(n))).unwrap();
        assert_eq!((control.reply_seq(), control.reply_len(), control.short_reply()), (2, 64, None));
        assert_eq!(area(&region, 64)[56..], 8_u64.to_le_bytes());
        replies.post(|w| w.put_u32(9)).unwrap();
        assert_eq!((control.reply_len(), control.short_reply().unwrap()[0] as u32), (4, 9));
        assert!(replies.fetch(0).is_err());
    }

    #[test]
    fn reply_when_larger_than_the_area_is_fetched_in_parts() {
        let region = region();
        let size = region.reply().1;
        let mut replies = Replies::new(Arc::clone(&region));
        let bytes: Vec<u8> = (0..2 * size + 10).map(|i| i as u8 ^ (i >> 8) as u8).collect();
        replies.post(|w| w.put_bytes(&bytes)).unwrap();
        assert_eq!(region.control().reply_len() as usize, bytes.len());
        assert_eq!(area(&region, size), bytes[..size]);
        replies.fetch(2 * size as u64).unwrap();
        assert_eq!(area(&region, 10), bytes[2 * size..]);
        assert_eq!(region.control().reply_seq(), 2);
        assert!(replies.fetch(bytes.len() as u64).is_err());
        assert!(replies.fetch(u64::MAX).is_err());
    }
}
