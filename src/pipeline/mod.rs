//! The story of a read and of a write, one function per direction: [`read::read`] and [`write::write`],
//! one chunk in [`chunk`], the inner chunks of a shard in [`shard`]; [`survey`] says beforehand what a read will
//! touch.

mod ahead;
mod blocks;
pub mod chunk;
pub mod feeding;
mod lent;
mod parts;
pub mod read;
#[cfg(feature = "remote")]
pub mod remote;
mod rows;
pub mod shard;
mod slabs;
mod stream;
pub mod survey;
pub mod write;

use crate::codec::fill::Fill;
use crate::codec::vlen::Elements;
use crate::error::Error;
use crate::gather::Supply;
use crate::plan::Region;
use crate::scatter::Place;

/// Turns variable-length elements into the caller's objects.
pub trait ObjectSink: Sync {
    /// Puts the elements that `source` names (offsets are element numbers) to the places of `target`.
    ///
    /// # Errors
    /// The caller's interpreter refused.
    fn place(&self, elements: &Elements, source: &Region, target: &Region) -> Result<(), Error>;
}

/// Gives the caller's objects as variable-length elements.
pub trait ObjectSource: Sync {
    /// The elements of a region, in C order.
    ///
    /// # Errors
    /// Objects of another type, or the caller's interpreter refused.
    fn collect(&self, region: &Region) -> Result<Elements, Error>;
}

/// Where the elements of a chunk go.
#[derive(Clone)]
pub enum Destination<'a> {
    /// Elements of a fixed size in memory.
    Elements(Place<'a>),
    /// Objects.
    Objects {
        /// Who makes them.
        sink: &'a dyn ObjectSink,
        /// Where in the output.
        region: Region,
    },
}

impl<'a> Destination<'a> {
    /// Which elements of the output.
    #[must_use]
    pub fn region(&self) -> &Region {
        match self {
            Self::Elements(place) => place.region(),
            Self::Objects { region, .. } => region,
        }
    }

    /// A part of this destination; `region` comes from narrowing this one's.
    #[must_use]
    pub fn part(&self, region: Region) -> Destination<'a> {
        match self {
            Self::Elements(place) => Destination::Elements(place.part(region)),
            Self::Objects { sink, .. } => Destination::Objects { sink: *sink, region },
        }
    }

    /// Writes the fill value everywhere.
    ///
    /// # Errors
    /// A plan that does not fit, or an interpreter that refused.
    pub fn fill(&self, fill: &Fill) -> Result<(), Error> {
        match self {
            Self::Elements(place) => Ok(place.fill(fill.element())?),
            Self::Objects { sink, region } => {
                let mut elements = Elements::default();
                elements.push(fill.element());
                sink.place(&elements, &crate::scatter::repeated(region), region)
            }
        }
    }
}

/// Where the elements of a chunk come from.
#[derive(Clone)]
pub enum Origin<'a> {
    /// Elements of a fixed size in memory.
    Elements(Supply<'a>),
    /// Objects.
    Objects {
        /// Who reads them.
        source: &'a dyn ObjectSource,
        /// Where in the caller's array.
        region: Region,
    },
}

impl<'a> Origin<'a> {
    /// Which elements of the caller's array.
    #[must_use]
    pub fn region(&self) -> &Region {
        match self {
            Self::Elements(supply) => supply.region(),
            Self::Objects { region, .. } => region,
        }
    }

    /// Some of these elements; `region` comes from narrowing this one's.
    #[must_use]
    pub fn part(&self, region: Region) -> Origin<'a> {
        match self {
            Self::Elements(supply) => Origin::Elements(supply.part(region)),
            Self::Objects { source, .. } => Origin::Objects { source: *source, region },
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
