//! The codecs compiled into this library, one file each (or a family).

mod arithmetic;
mod astype;
mod bitround;
pub mod blosc;
mod blosc_blocks;
mod byteswap;
mod bz2;
mod cast_value;
mod checksum;
mod configuration;
mod deflate;
mod delta;
mod element;
mod fixed;
mod fixedscaleoffset;
mod float16;
mod gzip;
mod jenkins;
mod literals;
mod lz4;
mod lzma;
mod output;
mod packbits;
mod pcodec;
mod quantize;
mod rounding;
mod scalar;
mod scale_offset;
mod shuffle;
mod streams;
#[cfg(test)]
mod testing;
mod transpose;
mod value_conversion;
mod zlib;
mod zstd;
mod zstd_blocks;

pub use deflate::inflate_raw;

use super::registry::Bind;

/// Codec names and how each is bound. Names are those of numcodecs ids and of Zarr v3, without prefix.
const TABLE: &[(&str, Bind)] = &[
    ("adler32", checksum::bind_adler32),
    ("astype", astype::bind),
    ("bitround", bitround::bind),
    ("blosc", blosc::bind),
    ("byteswap", byteswap::bind),
    ("bz2", bz2::bind),
    ("cast_value", cast_value::bind),
    ("crc32", checksum::bind_crc32),
    ("crc32c", checksum::bind_crc32c),
    ("delta", delta::bind),
    ("fixedscaleoffset", fixedscaleoffset::bind),
    ("fletcher32", checksum::bind_fletcher32),
    ("gzip", gzip::bind),
    ("jenkins_lookup3", checksum::bind_lookup3),
    ("lz4", lz4::bind),
    ("lzma", lzma::bind),
    ("packbits", packbits::bind),
    ("pcodec", pcodec::bind),
    ("quantize", quantize::bind),
    ("scale_offset", scale_offset::bind),
    ("shuffle", shuffle::bind),
    ("transpose", transpose::bind),
    ("zlib", zlib::bind),
    ("zstd", zstd::bind),
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
