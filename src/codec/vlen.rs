//! Variable-length strings and bytes: the `vlen-utf8` and `vlen-bytes` codecs.
//!
//! Format (numcodecs): a little-endian `u32` with the number of elements, then for each element a `u32`
//! with its length in bytes and the bytes. The decoded form here is a list of [`Span`]s into the payload,
//! which becomes Python objects only where the caller selected them.

use super::CodecFault;

/// What the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlenKind {
    /// `vlen-utf8`
    Utf8,
    /// `vlen-bytes`
    Bytes,
}

impl VlenKind {
    /// The codec's name in metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "vlen-utf8",
            Self::Bytes => "vlen-bytes",
        }
    }
}

/// Bytes of one element within a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
}

/// Elements of variable length: a payload and where each element lies in it.
#[derive(Clone, Debug, Default)]
pub struct Elements {
    /// Bytes that the spans point into.
    pub payload: Vec<u8>,
    /// One span for every element, in C order.
    pub spans: Vec<Span>,
}

impl Elements {
    /// Bytes of element `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> &[u8] {
        let Span { start, len } = self.spans[index];
        &self.payload[start..start + len]
    }

    /// Appends an element.
    pub fn push(&mut self, element: &[u8]) {
        self.spans.push(Span { start: self.payload.len(), len: element.len() });
        self.payload.extend_from_slice(element);
    }
}

/// Finds the elements of an encoded chunk.
///
/// # Errors
/// Another number of elements than the chunk has, lengths that leave the data, or invalid UTF-8.
pub fn decode(kind: VlenKind, payload: Vec<u8>, element_count: usize) -> Result<Elements, CodecFault> {
    let damaged = |what: String| Err(CodecFault::Damaged(what));
    let Some((header, _)) = payload.split_first_chunk::<4>() else {
        return damaged(format!("{} bytes are too few for a header", payload.len()));
    };
    let stored_count = u32::from_le_bytes(*header) as usize;
    if stored_count != element_count {
        return damaged(format!("{stored_count} elements where the chunk has {element_count}"));
    }
    // Every element takes at least its length field: a lying header allocates nothing.
    if (payload.len() - 4) / 4 < element_count {
        return damaged(format!("{} bytes are too few for {element_count} elements", payload.len()));
    }
    let mut spans = Vec::new();
    spans.try_reserve_exact(element_count).map_err(|_| CodecFault::OutOfMemory {
        len_bytes: element_count.saturating_mul(size_of::<Span>()),
    })?;
    let mut at = 4;
    for index in 0..element_count {
        let Some(field) = payload.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
            return damaged(format!("the data ends before element {index}"));
        };
        let len = u32::from_le_bytes(*field) as usize;
        let start = at + 4;
        match payload.get(start..).and_then(|rest| rest.get(..len)) {
            None => return damaged(format!("element {index} claims {len} bytes, past the end of the data")),
            Some(element) if kind == VlenKind::Utf8 && std::str::from_utf8(element).is_err() => {
                return damaged(format!("element {index} is not valid UTF-8"));
            }
            Some(_) => spans.push(Span { start, len }),
        }
        at = start + len;
    }
    Ok(Elements { payload, spans })
}

/// Appends the encoded form of a chunk's elements.
///
/// # Errors
/// More elements, or a longer one, than the format's 32-bit fields can say.
pub fn encode<'a>(
    elements: impl ExactSizeIterator<Item = &'a [u8]>,
    encoded: &mut Vec<u8>,
) -> Result<(), CodecFault> {
    let field = |number: usize, what: &str| {
        u32::try_from(number)
            .map(u32::to_le_bytes)
            .map_err(|_| CodecFault::Value(format!("{what} {number} does not fit the format's 32 bits")))
    };
    encoded.extend_from_slice(&field(elements.len(), "element count")?);
    for element in elements {
        encoded.extend_from_slice(&field(element.len(), "element length")?);
        encoded.extend_from_slice(element);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(elements: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(elements.iter().copied(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn elements_come_back() {
        let elements: [&[u8]; 3] = [b"", "grün".as_bytes(), b"xyz"];
        let bytes = encoded(&elements);
        assert_eq!(bytes[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        let decoded = decode(VlenKind::Utf8, bytes, 3).unwrap();
        assert_eq!((0..3).map(|at| decoded.get(at)).collect::<Vec<_>>(), elements);
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = encoded(&[b"ab", b"c"]);
        for len in 0..bytes.len() {
            assert!(decode(VlenKind::Bytes, bytes[..len].to_vec(), 2).is_err(), "{len} bytes");
        }
        assert!(decode(VlenKind::Bytes, bytes.clone(), 3).is_err());
        assert!(decode(VlenKind::Bytes, vec![0xff; 4], u32::MAX as usize).is_err());
        let mut invalid = bytes;
        invalid[8] = 0xff;
        assert!(decode(VlenKind::Utf8, invalid.clone(), 2).is_err());
        assert!(decode(VlenKind::Bytes, invalid, 2).is_ok());
    }
}
