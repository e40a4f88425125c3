//! Whose a session is: as the store keeps it, and as access knows it.

use std::sync::Arc;

use weir_access::Identity;
use weir_store::Owner;

/// What the store keeps of an identity. When a token ends is left out: who comes back shows another.
pub fn kept(identity: &Identity) -> Arc<Owner> {
    Arc::new(Owner { principal: identity.principal.clone(), grant: Some(identity.grant.clone()) })
}

/// The identity of a client that is away. `None` when the store knows no more than its user id.
pub fn known(owner: &Owner, realm: &Arc<str>) -> Option<Identity> {
    let grant = owner.grant.clone()?;
    Some(Identity { principal: owner.principal.clone(), realm: realm.clone(), expires_at: None, grant })
}
