//! Parts of a region that follow one another in the chunk, for chunks that are not in memory as a whole. Used by
//! [`super::stream`] and [`super::blocks`].

use crate::plan::Region;
use crate::scatter::Place;

use super::rows::{Span, some_of};

/// Part of a region that is scattered at once: mostly no longer than was asked for.
pub(super) struct Slab {
    /// First and last byte of the chunk, exclusive.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its elements, from `start` on.
    pub(super) region: Region,
    pub(super) place: Region,
}

impl Slab {
    /// The region cut into slabs that follow one another; `None` where it goes back and forth.
    pub(super) fn all(region: &Region, place: &Place<'_>, slab_bytes: usize) -> Option<Vec<Self>> {
        let mut slabs = Vec::new();
        Self::cut(region, place.region(), place.item_size(), slab_bytes, &mut slabs)?;
        slabs.is_sorted_by_key(|slab| slab.start).then_some(slabs)
    }

    fn cut(
        region: &Region,
        place: &Region,
        item_size: usize,
        slab_bytes: usize,
        slabs: &mut Vec<Self>,
    ) -> Option<()> {
        let Some(span) = Span::of(region, item_size) else { return Some(()) };
        let widest = span.steps(region).max_by_key(|(_, step)| *step);
        let Some((axis, step)) = widest.filter(|_| span.len_bytes() > slab_bytes) else {
            let mut within = region.clone();
            within.base -= span.lowest();
            let start = usize::try_from(span.lowest()).ok()?;
            slabs.push(Self { start, end: start + span.len_bytes(), region: within, place: place.clone() });
            return Some(());
        };
        let len = region.axes[axis].len();
        let positions = (slab_bytes / step.max(1)).clamp(1, len - 1);
        for first in (0..len).step_by(positions) {
            let count = positions.min(len - first);
            let (region, place) = (some_of(region, axis, first, count), some_of(place, axis, first, count));
            Self::cut(&region, &place, item_size, slab_bytes, slabs)?;
            // An order that will not do is found soon.
            if slabs.len() > 1 && slabs[slabs.len() - 2].start > slabs[slabs.len() - 1].start {
                return None;
            }
        }
        Some(())
    }
}
