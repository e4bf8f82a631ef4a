//! The codecs compiled into this library, one file each (or a family).

mod arithmetic;
mod astype;
mod bitround;
mod byteswap;
mod cast_value;
mod checksum;
mod configuration;
mod delta;
mod element;
mod fixed;
mod fixedscaleoffset;
mod float16;
mod jenkins;
mod packbits;
mod pcodec;
mod quantize;
mod rounding;
mod scalar;
mod scale_offset;
mod shuffle;

use super::registry::Bind;

/// Codec names and how each is bound. Names are those of numcodecs ids and of Zarr v3, without prefix.
const TABLE: &[(&str, Bind)] = &[
    ("adler32", checksum::bind_adler32),
    ("astype", astype::bind),
    ("bitround", bitround::bind),
    ("byteswap", byteswap::bind),
    ("cast_value", cast_value::bind),
    ("crc32", checksum::bind_crc32),
    ("crc32c", checksum::bind_crc32c),
    ("delta", delta::bind),
    ("fixedscaleoffset", fixedscaleoffset::bind),
    ("fletcher32", checksum::bind_fletcher32),
    ("jenkins_lookup3", checksum::bind_lookup3),
    ("packbits", packbits::bind),
    ("pcodec", pcodec::bind),
    ("quantize", quantize::bind),
    ("scale_offset", scale_offset::bind),
    ("shuffle", shuffle::bind),
];

/// The binder of the codec called `name`.
#[must_use]
pub fn find(name: &str) -> Option<Bind> {
    TABLE.iter().find(|(known, _)| *known == name).map(|&(_, bind)| bind)
}

/// Names of all native codecs.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|&(name, _)| name)
}
