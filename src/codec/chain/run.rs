//! Whole chunks through all steps of a chain.

use std::ops::Range;

use super::{Chain, Step, VARIABLE_LENGTH_OPTION, step_error};
use crate::codec::lending::{Encoded, Lender, TakeRange};
use crate::codec::scratch::copy_of;
use crate::codec::vlen::{self, Elements, VlenKind};
use crate::codec::{CodecFault, Direction, Scratch};
use crate::distance;
use crate::error::StepError;

impl Chain {
    /// Decodes a chunk of fixed-size elements into a serial buffer of [`Chain::len_bytes`] bytes. A chain
    /// with a [`Chain::shard`] is not decoded here but chunk by inner chunk.
    ///
    /// # Errors
    /// The step that failed.
    pub fn decode(&self, encoded: &[u8], decoded: &mut [u8], scratch: &mut Scratch) -> Result<(), StepError> {
        let Some((first, rest)) = self.steps.split_first() else {
            if encoded.len() != decoded.len() {
                return Err(self.length_fault(encoded.len()));
            }
            distance::copy(decoded, encoded);
            return Ok(());
        };
        self.decode_rest(rest, encoded, scratch, |bytes, scratch| {
            first.codec.decode_into(bytes, decoded, scratch).map_err(|fault| step_error(first, fault))
        })
    }

    /// The first step, if it shows what it decodes.
    fn lender(&self) -> Option<&dyn Lender> {
        self.steps.first()?.codec.lender()
    }

    /// Whether [`Chain::decode_lent`] is possible: it spares a copy.
    #[must_use]
    pub fn lends(&self) -> bool {
        self.lender().is_some()
    }

    /// Whether it spares another where the stored chunk is filled in.
    #[must_use]
    pub fn takes_filled(&self) -> bool {
        self.steps.len() == 1 && self.lender().is_some_and(Lender::takes_filled)
    }

    /// Whether it decodes parts alone.
    #[must_use]
    pub fn lends_ranges(&self) -> bool {
        self.lender().is_some_and(Lender::has_ranges)
    }

    /// As [`Chain::decode`], but these parts of the serial buffer are shown to `take` in their order. Only a chain
    /// that says so takes a chunk that is filled in.
    ///
    /// # Errors
    /// The step that failed, perhaps after some parts were shown.
    pub fn decode_lent(
        &self,
        encoded: Encoded<'_>,
        ranges: &[Range<usize>],
        take: &mut TakeRange<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        let cannot = |len_bytes| Err(self.length_fault(len_bytes));
        let (Some((first, rest)), Some(lender)) = (self.steps.split_first(), self.lender()) else {
            return cannot(0);
        };
        let mut show = |encoded: Encoded<'_>, scratch: &mut Scratch| {
            lender
                .decode_lent(encoded, self.len_bytes, ranges, take, scratch)
                .map_err(|fault| step_error(first, fault))
        };
        match encoded {
            encoded if rest.is_empty() => show(encoded, scratch),
            Encoded::Bytes(bytes) => {
                self.decode_rest(rest, bytes, scratch, |bytes, scratch| show(Encoded::Bytes(bytes), scratch))
            }
            Encoded::Filled { len_bytes, .. } => cannot(len_bytes),
        }
    }

    /// Decodes a chunk of variable-length elements.
    ///
    /// # Errors
    /// The step that failed.
    pub fn decode_elements(
        &self,
        kind: VlenKind,
        encoded: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Elements, StepError> {
        self.decode_rest(&self.steps, encoded, scratch, |bytes, _| {
            let payload = copy_of(bytes);
            payload.and_then(|payload| vlen::decode(kind, payload, self.element_count)).map_err(|fault| {
                StepError { codec: kind.name().to_owned(), direction: Direction::Decode, fault }
            })
        })
    }

    /// Runs the decoding of `steps` from the last to the first, then hands the bytes on.
    fn decode_rest<T>(
        &self,
        steps: &[Step],
        encoded: &[u8],
        scratch: &mut Scratch,
        finish: impl FnOnce(&[u8], &mut Scratch) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let Some((last, before)) = steps.split_last() else { return finish(encoded, scratch) };
        if let Some(len) = last.decoded_len {
            let mut buffer = scratch.take(len).map_err(|fault| step_error(last, fault))?;
            let result = last
                .codec
                .decode_into(encoded, &mut buffer, scratch)
                .map_err(|fault| step_error(last, fault))
                .and_then(|()| self.decode_rest(before, &buffer, scratch, finish));
            scratch.put(buffer);
            result
        } else {
            let mut bytes = scratch.take_vec();
            let result = last
                .codec
                .decode_bounded(encoded, &mut bytes, last.decoded_limit, scratch)
                .map_err(|fault| step_error(last, self.explain_limit(fault)))
                .and_then(|()| self.decode_rest(before, &bytes, scratch, finish));
            scratch.put_vec(bytes);
            result
        }
    }

    /// Variable-length data that is too long says which option raises the cap.
    fn explain_limit(&self, fault: CodecFault) -> CodecFault {
        match fault {
            CodecFault::DecodedLength { expected, .. } if self.vlen().is_some() => {
                CodecFault::Limit { limit_bytes: expected, option: VARIABLE_LENGTH_OPTION }
            }
            fault => fault,
        }
    }

    /// Encodes a serial buffer, replacing what `encoded` holds.
    ///
    /// # Errors
    /// The step that failed.
    pub fn encode(
        &self,
        decoded: &[u8],
        encoded: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        encoded.clear();
        self.encode_from(decoded, encoded, scratch)
    }

    fn encode_from(
        &self,
        decoded: &[u8],
        encoded: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        let Some((last, before)) = self.steps.split_last() else {
            encoded.extend_from_slice(decoded);
            return Ok(());
        };
        let run = |step: &Step, input: &[u8], output: &mut Vec<u8>, scratch: &mut Scratch| {
            step.codec.encode(input, output, scratch).map_err(|fault| StepError {
                codec: step.codec.name().to_owned(),
                direction: Direction::Encode,
                fault,
            })
        };
        let mut current: Option<Vec<u8>> = None;
        for step in before {
            let mut next = scratch.take_vec();
            run(step, current.as_deref().unwrap_or(decoded), &mut next, scratch)?;
            if let Some(spent) = current.replace(next) {
                scratch.put_vec(spent);
            }
        }
        run(last, current.as_deref().unwrap_or(decoded), encoded, scratch)?;
        if let Some(spent) = current {
            scratch.put_vec(spent);
        }
        Ok(())
    }

    /// Encodes variable-length elements given in stored order, replacing what `encoded` holds.
    ///
    /// # Errors
    /// The step that failed.
    pub fn encode_elements<'a>(
        &self,
        kind: VlenKind,
        elements: impl ExactSizeIterator<Item = &'a [u8]>,
        encoded: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        encoded.clear();
        let mut payload = scratch.take_vec();
        vlen::encode(elements, &mut payload).map_err(|fault| StepError {
            codec: kind.name().to_owned(),
            direction: Direction::Encode,
            fault,
        })?;
        let result = self.encode_from(&payload, encoded, scratch);
        scratch.put_vec(payload);
        result
    }
}
