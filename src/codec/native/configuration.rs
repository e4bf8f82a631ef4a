//! Reads a codec's settings out of its JSON configuration.
//!
//! Every binder of this folder asks here, so that a wrong setting gives the same kind of message
//! whichever codec it belongs to. A key that is absent and a key that is `null` both read as `None`:
//! Python writes the two for the same thing.

use serde_json::Value;

use crate::codec::registry::BindError;

/// The integer under `key`.
///
/// # Errors
/// A value that is no integer, or one outside of 64 bits.
pub(super) fn integer(configuration: &Value, key: &str) -> Result<Option<i64>, BindError> {
    read(configuration, key, "an integer", Value::as_i64)
}

/// The number under `key`; an integer counts as one.
///
/// # Errors
/// A value that is no number.
#[allow(dead_code, reason = "for codecs with scales and offsets; no compressor has such a setting")]
pub(super) fn number(configuration: &Value, key: &str) -> Result<Option<f64>, BindError> {
    read(configuration, key, "a number", Value::as_f64)
}

/// The text under `key`.
///
/// # Errors
/// A value that is no text.
pub(super) fn text<'a>(configuration: &'a Value, key: &str) -> Result<Option<&'a str>, BindError> {
    read(configuration, key, "a string", Value::as_str)
}

/// The boolean under `key`; 0 and 1 count as one, as in Python.
///
/// # Errors
/// A value that is none of these.
pub(super) fn flag(configuration: &Value, key: &str) -> Result<Option<bool>, BindError> {
    read(configuration, key, "true or false", |value| {
        value.as_bool().or_else(|| match value.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        })
    })
}

/// The integer under `key` if it lies within `range`, `default` if the key is absent.
///
/// # Errors
/// A value that is no integer of the range.
pub(super) fn integer_within(
    configuration: &Value,
    key: &str,
    range: std::ops::RangeInclusive<i32>,
    default: i32,
) -> Result<i32, BindError> {
    let Some(found) = integer(configuration, key)? else { return Ok(default) };
    i32::try_from(found).ok().filter(|value| range.contains(value)).ok_or_else(|| {
        BindError::Invalid(format!(
            "{key:?} must lie between {} and {}, not {found}",
            range.start(),
            range.end()
        ))
    })
}

fn read<'a, T>(
    configuration: &'a Value,
    key: &str,
    wanted: &str,
    convert: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, BindError> {
    match configuration.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => convert(value)
            .map(Some)
            .ok_or_else(|| BindError::Invalid(format!("{key:?} must be {wanted}, not {value}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_and_null_are_none() {
        for configuration in [json!({}), json!({"key": null}), Value::Null] {
            assert_eq!(integer(&configuration, "key").unwrap(), None);
            assert_eq!(number(&configuration, "key").unwrap(), None);
            assert_eq!(text(&configuration, "key").unwrap(), None);
            assert_eq!(flag(&configuration, "key").unwrap(), None);
            assert_eq!(integer_within(&configuration, "key", 0..=9, 5).unwrap(), 5);
        }
    }

    #[test]
    fn values_are_read_by_type() {
        let configuration = json!({"level": -7, "scale": 0.5, "name": "lz4", "checksum": true, "old": 1});
        assert_eq!(integer(&configuration, "level").unwrap(), Some(-7));
        assert_eq!(number(&configuration, "level").unwrap(), Some(-7.0));
        assert_eq!(number(&configuration, "scale").unwrap(), Some(0.5));
        assert_eq!(text(&configuration, "name").unwrap(), Some("lz4"));
        assert_eq!(flag(&configuration, "checksum").unwrap(), Some(true));
        assert_eq!(flag(&configuration, "old").unwrap(), Some(true));
        assert_eq!(integer_within(&configuration, "level", -7..=7, 0).unwrap(), -7);
    }

    #[test]
    fn wrong_values_name_the_key() {
        let configuration = json!({"level": "high", "scale": [], "name": 3, "checksum": 2});
        let messages = [
            integer(&configuration, "level").unwrap_err().to_string(),
            number(&configuration, "scale").unwrap_err().to_string(),
            text(&configuration, "name").unwrap_err().to_string(),
            flag(&configuration, "checksum").unwrap_err().to_string(),
            integer_within(&configuration, "name", 0..=2, 0).unwrap_err().to_string(),
        ];
        assert_eq!(
            messages,
            [
                "\"level\" must be an integer, not \"high\"",
                "\"scale\" must be a number, not []",
                "\"name\" must be a string, not 3",
                "\"checksum\" must be true or false, not 2",
                "\"name\" must lie between 0 and 2, not 3",
            ]
        );
    }
}
