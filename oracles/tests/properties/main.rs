//! Properties of the oracles, over histories of a small world whose right observations are known.

mod alive;
mod histories;
mod junk;
mod model;
mod mutate;
mod places;
mod sites;
