//! Orderers from which blocks can be replicated, according to a configuration, with their TLS authorities.

use std::sync::Arc;

use fabric_proto::common::OrdererAddresses;
use fabric_proto::lenient;
use orderer_x509::Certificate;

use crate::config::tree::GroupRef;
use crate::config::{ChannelSnapshot, key};
use crate::identity::Msp;

/// Address at which an orderer serves blocks.
#[derive(Clone, Debug)]
pub struct OrdererEndpoint {
    /// HOST:PORT, as in the configuration.
    pub address: String,
    /// TLS authorities that may have issued the orderer's certificate.
    pub authorities: Vec<Arc<Certificate>>,
}

/// Returns the orderers of a channel, as Fabric finds them (`EndpointconfigFromConfigBlock`): the endpoints of the ordering
/// organizations, each with the TLS authorities of its organization; if there are none, the addresses of the whole channel, with
/// the authorities of all ordering organizations. An address that is listed several times is returned once, with the authorities
/// of all organizations that list it: Fabric tries each of them.
pub fn endpoints(snapshot: &ChannelSnapshot) -> Vec<OrdererEndpoint> {
    let root = snapshot.tree().root();
    let organizations = &snapshot.orderer().organizations;
    let authorities_of = |msp_id: &String| snapshot.msps().get(msp_id).map(tls_authorities).unwrap_or_default();
    let mut found: Vec<OrdererEndpoint> = Vec::new();
    for (name, group) in root.below(key::ORDERER).into_iter().flat_map(GroupRef::groups) {
        let authorities = organizations.get(name).map(authorities_of).unwrap_or_default();
        for address in listed(group, key::ENDPOINTS) {
            add(&mut found, address, &authorities);
        }
    }
    let addresses = listed(root, key::ORDERER_ADDRESSES);
    if found.is_empty() && !addresses.is_empty() {
        let all: Vec<_> = organizations.values().flat_map(authorities_of).collect();
        for address in addresses {
            add(&mut found, address, &all);
        }
    }
    found
}

fn add(found: &mut Vec<OrdererEndpoint>, address: String, authorities: &[Arc<Certificate>]) {
    let Some(known) = found.iter_mut().find(|known| known.address == address) else {
        return found.push(OrdererEndpoint { address, authorities: authorities.to_vec() });
    };
    for authority in authorities {
        if !known.authorities.iter().any(|known| known.raw() == authority.raw()) {
            known.authorities.push(Arc::clone(authority));
        }
    }
}

fn tls_authorities(msp: &Arc<Msp>) -> Vec<Arc<Certificate>> {
    msp.tls_intermediates().iter().chain(msp.tls_roots()).cloned().collect()
}

fn listed(group: GroupRef<'_>, value: &str) -> Vec<String> {
    let value = group.values().get(value);
    let decoded = value.and_then(|value| lenient::decode::<OrdererAddresses>(value.value.clone()).ok());
    decoded.unwrap_or_default().addresses
}
