//! The server side: handles the streams of other consenters.

mod api;
mod service;

pub use api::{ClusterChannel, Router, StepRejection};
pub use service::{ServiceFigures, StepClient, StepService, StepSession};
