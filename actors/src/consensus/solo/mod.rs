//! The solo consenter: this node alone decides the order.

mod chain;
mod consenter;

pub use consenter::SoloConsenter;
