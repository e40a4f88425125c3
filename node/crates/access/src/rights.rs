//! What one may publish to a topic, in six bits.

use weir_model::Qos;

/// A bit for each QoS, without and with RETAIN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishRights(u8);

impl PublishRights {
    pub const NONE: PublishRights = PublishRights(0);
    pub const ALL: PublishRights = PublishRights(0b11_1111);

    fn bit(qos: Qos, retain: bool) -> u8 {
        1 << (qos as u8 + 3 * u8::from(retain))
    }

    pub fn allows(self, qos: Qos, retain: bool) -> bool {
        self.0 & Self::bit(qos, retain) != 0
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, qos: Qos, retain: bool) -> PublishRights {
        PublishRights(self.0 | Self::bit(qos, retain))
    }

    /// What either has.
    #[must_use]
    pub fn union(self, other: PublishRights) -> PublishRights {
        PublishRights(self.0 | other.0)
    }

    /// These without what `other` has.
    #[must_use]
    pub fn without(self, other: PublishRights) -> PublishRights {
        PublishRights(self.0 & !other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_of_one_qos_with_or_without_retain() {
        let rights = PublishRights::NONE.with(Qos::AtLeastOnce, false);
        assert!(rights.allows(Qos::AtLeastOnce, false));
        assert!(!rights.allows(Qos::AtLeastOnce, true) && !rights.allows(Qos::AtMostOnce, false));
        let all_but = PublishRights::ALL.without(rights);
        assert!(!all_but.allows(Qos::AtLeastOnce, false) && all_but.allows(Qos::ExactlyOnce, true));
        assert_eq!(all_but.union(rights), PublishRights::ALL);
    }
}
