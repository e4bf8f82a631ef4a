//! The codecs compiled into this library, one file each (or a family).

pub mod blosc;
mod bz2;
mod configuration;
mod deflate;
mod gzip;
mod lz4;
mod lzma;
mod output;
mod streams;
#[cfg(test)]
mod testing;
mod zlib;
mod zstd;

use super::registry::Bind;

/// Codec names and how each is bound. Names are those of numcodecs ids and of Zarr v3, without prefix.
const TABLE: &[(&str, Bind)] = &[
    ("blosc", blosc::bind),
    ("bz2", bz2::bind),
    ("gzip", gzip::bind),
    ("lz4", lz4::bind),
    ("lzma", lzma::bind),
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
