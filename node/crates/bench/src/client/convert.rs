//! The client's owned values as the codec's borrowed ones, with the lengths MQTT can say checked first.

use std::num::NonZeroU16;

use weir_wire::mqtt::{
    Connect, List, MessageProperties, Subscribe, SubscribeOptions, Unsubscribe, UserProperties, Version,
    Will, encode,
};

use super::message::{Message, Properties};
use super::{Error, Options, Subscription};

/// Appends the CONNECT of `options`.
pub(super) fn connect(out: &mut Vec<u8>, options: &Options) -> Result<(), Error> {
    check_options(options)?;
    let user = pairs(&options.user);
    let will_user = options.will.as_ref().map(|will| will.properties.user_pairs()).unwrap_or_default();
    let will = options.will.as_ref().map(|will| Will {
        qos: will.qos,
        retain: will.retain,
        delay_seconds: will.delay_seconds,
        properties: will.properties.borrow(&will_user),
        ..Will::new(&will.topic, &will.payload)
    });
    let packet = Connect {
        clean_start: options.clean_start,
        keep_alive: options.keep_alive_seconds,
        will,
        username: options.username.as_deref(),
        password: options.password.as_deref(),
        session_expiry_seconds: options.session_expiry_seconds,
        receive_maximum: options.receive_maximum,
        packet_bytes_max: options.packet_bytes_max,
        topic_alias_maximum: options.topic_alias_maximum,
        user: UserProperties::of(&user),
        ..Connect::new(options.version, &options.client_id)
    };
    encode::connect(out, &packet);
    Ok(())
}

/// Appends a SUBSCRIBE.
pub(super) fn subscribe(
    out: &mut Vec<u8>,
    packet_id: NonZeroU16,
    subscriptions: &[Subscription],
    subscription_id: Option<u32>,
    user: &[(&str, &str)],
    version: Version,
) -> Result<(), Error> {
    for subscription in subscriptions {
        check("filter", subscription.filter.len())?;
    }
    let filters: Vec<(&str, SubscribeOptions)> =
        subscriptions.iter().map(|one| (one.filter.as_str(), one.options)).collect();
    let packet = Subscribe { packet_id, filters: List::of(&filters), subscription_id, user: List::of(user) };
    encode::subscribe(out, &packet, version);
    Ok(())
}

/// Appends an UNSUBSCRIBE.
pub(super) fn unsubscribe(
    out: &mut Vec<u8>,
    packet_id: NonZeroU16,
    filters: &[&str],
    version: Version,
) -> Result<(), Error> {
    for filter in filters {
        check("filter", filter.len())?;
    }
    let packet = Unsubscribe { packet_id, filters: List::of(filters), user: UserProperties::default() };
    encode::unsubscribe(out, &packet, version);
    Ok(())
}

/// Refuses a message with a field MQTT cannot say.
pub(super) fn check_message(message: &Message) -> Result<(), Error> {
    check("topic", message.topic.len())?;
    check_properties(&message.properties)
}

fn check_options(options: &Options) -> Result<(), Error> {
    check("client id", options.client_id.len())?;
    check("user name", options.username.as_ref().map_or(0, String::len))?;
    check("password", options.password.as_ref().map_or(0, Vec::len))?;
    check_user(&options.user)?;
    let Some(will) = &options.will else { return Ok(()) };
    check("will's topic", will.topic.len())?;
    check("will's payload", will.payload.len())?;
    check_properties(&will.properties)
}

fn check_properties(properties: &Properties) -> Result<(), Error> {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    check("content type", text(&properties.content_type))?;
    check("response topic", text(&properties.response_topic))?;
    check("correlation data", properties.correlation_data.as_ref().map_or(0, Vec::len))?;
    check_user(&properties.user)
}

fn check_user(user: &[(String, String)]) -> Result<(), Error> {
    user.iter().try_for_each(|(name, value)| {
        check("name of a user property", name.len())?;
        check("value of a user property", value.len())
    })
}

/// MQTT-1.5.4 and MQTT-1.5.6: two bytes of length.
fn check(field: &'static str, bytes: usize) -> Result<(), Error> {
    if bytes > usize::from(u16::MAX) { Err(Error::FieldTooLong { field, bytes }) } else { Ok(()) }
}

fn pairs(user: &[(String, String)]) -> Vec<(&str, &str)> {
    user.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl Properties {
    /// The user properties as [`Properties::borrow`] needs them.
    pub(super) fn user_pairs(&self) -> Vec<(&str, &str)> {
        pairs(&self.user)
    }

    pub(super) fn borrow<'a>(&'a self, user: &'a [(&'a str, &'a str)]) -> MessageProperties<'a> {
        MessageProperties {
            payload_is_utf8: self.payload_is_utf8,
            expiry_seconds: self.expiry_seconds,
            content_type: self.content_type.as_deref(),
            response_topic: self.response_topic.as_deref(),
            correlation_data: self.correlation_data.as_deref(),
            user: UserProperties::of(user),
        }
    }

    pub(super) fn of(properties: &MessageProperties<'_>) -> Properties {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Properties {
            payload_is_utf8: properties.payload_is_utf8,
            expiry_seconds: properties.expiry_seconds,
            content_type: properties.content_type.map(str::to_owned),
            response_topic: properties.response_topic.map(str::to_owned),
            correlation_data: properties.correlation_data.map(<[u8]>::to_vec),
            user: properties.user.iter().map(owned).collect(),
        }
    }
}
