//! Reading settings of topics and brokers, a request that rskafka does not have. Version 1: every broker from 1.0 to 4.x
//! speaks it.

use std::io::Cursor;

use rskafka::protocol::api_key::ApiKey;
use rskafka::protocol::api_version::{ApiVersion, ApiVersionRange};
use rskafka::protocol::error::Error as Code;
use rskafka::protocol::messages::{
    ReadVersionedError, ReadVersionedType, RequestBody, WriteVersionedError, WriteVersionedType,
};
use rskafka::protocol::primitives::{Boolean, Int8, Int16, Int32, NullableString, String_};
use rskafka::protocol::traits::{ReadError, ReadType, WriteType};

use crate::api::Setting;

const VERSION: ApiVersion = ApiVersion(Int16(1));

/// The kind of resource whose settings are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigResource {
    Topic,
    Broker,
}

impl ConfigResource {
    fn resource_type(self) -> Int8 {
        Int8(match self {
            Self::Topic => 2,
            Self::Broker => 4,
        })
    }

    /// The source that means: set for this very one.
    fn own_source(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::Broker => 2,
        }
    }
}

/// Asks for all settings of one topic or broker.
#[derive(Debug)]
pub(crate) struct DescribeConfigs {
    pub(crate) of: ConfigResource,
    /// A topic's name or a broker's id.
    pub(crate) name: String,
}

impl RequestBody for DescribeConfigs {
    type ResponseBody = DescribeConfigsResponse;

    const API_KEY: ApiKey = ApiKey::DescribeConfigs;
    const API_VERSION_RANGE: ApiVersionRange = ApiVersionRange::new(VERSION, VERSION);
    const FIRST_TAGGED_FIELD_IN_REQUEST_VERSION: ApiVersion = ApiVersion(Int16(4));
}

impl WriteVersionedType<Vec<u8>> for DescribeConfigs {
    fn write_versioned(&self, writer: &mut Vec<u8>, _: ApiVersion) -> Result<(), WriteVersionedError> {
        let resources = Int32(1);
        let all_settings = Int32(-1);
        let include_synonyms = Boolean(false);
        resources.write(writer)?;
        self.of.resource_type().write(writer)?;
        String_(self.name.clone()).write(writer)?;
        all_settings.write(writer)?;
        include_synonyms.write(writer)?;
        Ok(())
    }
}

/// The answer about the one that was asked for.
#[derive(Debug, Default)]
pub(crate) struct DescribeConfigsResponse {
    pub(crate) error: Option<Code>,
    pub(crate) message: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    value: Option<String>,
    source: i8,
}

impl DescribeConfigsResponse {
    pub(crate) fn settings(self, of: ConfigResource) -> Vec<Setting> {
        let settings = self.entries.into_iter();
        let setting = |Entry { name, value, source }| Setting { name, value, is_own: source == of.own_source() };
        settings.map(setting).collect()
    }
}

impl ReadVersionedType<Cursor<Vec<u8>>> for DescribeConfigsResponse {
    fn read_versioned(reader: &mut Cursor<Vec<u8>>, _: ApiVersion) -> Result<Self, ReadVersionedError> {
        let _throttle = Int32::read(reader)?;
        let mut described = Self::default();
        for _ in 0..Int32::read(reader)?.0 {
            described.error = Code::new(Int16::read(reader)?.0);
            described.message = NullableString::read(reader)?.0;
            let _resource = (Int8::read(reader)?, String_::read(reader)?);
            for _ in 0..Int32::read(reader)?.0 {
                described.entries.push(entry(reader)?);
            }
        }
        Ok(described)
    }
}

fn entry(reader: &mut Cursor<Vec<u8>>) -> Result<Entry, ReadError> {
    let name = String_::read(reader)?.0;
    let value = NullableString::read(reader)?.0;
    let _read_only = Boolean::read(reader)?;
    let source = Int8::read(reader)?.0;
    let _sensitive = Boolean::read(reader)?;
    for _ in 0..Int32::read(reader)?.0 {
        let _synonym = (String_::read(reader)?, NullableString::read(reader)?, Int8::read(reader)?);
    }
    Ok(Entry { name, value, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_of_a_broker_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = DescribeConfigsResponse::read_versioned(&mut Cursor::new(bytes), VERSION);
        }
    }
}
