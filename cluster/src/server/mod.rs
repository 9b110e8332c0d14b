//! The side that streams come to.

mod api;
mod service;

pub use api::{ClusterChannel, NotTaken, Router};
pub use service::{ServiceFigures, StepClient, StepService, StepSession};
