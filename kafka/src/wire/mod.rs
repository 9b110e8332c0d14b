//! Requests and answers that rskafka does not have, or reads in another way than is wanted here.

pub(crate) mod configs;
pub(crate) mod fetch;
pub(crate) mod produce;
