//! A survey as JSON: what `wasm_survey` answers and what the cache folder keeps.

use std::ops::Range;

use serde_json::{Value, json};

use super::Survey;
use crate::wasm::Interface;

/// Changes whenever an older survey of the same bytes would not do: other bounds, other fields.
const VERSION: u64 = 1;

impl Survey {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let embedded = self.embedded_core.as_ref().map(|range| {
            json!({
                "range": [range.start, range.end],
                "exports": self.embedded_exports,
                "imports": self.embedded_imports,
            })
        });
        json!({
            "version": VERSION,
            "format": if self.is_component { "component" } else { "core" },
            "interface": self.interface.map(Interface::name),
            "kind": null,
            "len_bytes": self.len_bytes,
            "imports": self.imports,
            "exports": self.exports,
            "memory": self.memory_pages.map(|(initial, maximum)| json!({
                "initial_pages": initial,
                "maximum_pages": maximum,
            })),
            "signature": self.signature,
            "embedded_core": embedded,
            "has_decode": self.has_decode,
            "has_encode": self.has_encode,
        })
    }

    /// From what [`Survey::to_json`] made, in this version; `None` for everything else.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        if json["version"].as_u64() != Some(VERSION) {
            return None;
        }
        let interface = match &json["interface"] {
            Value::Null => None,
            name => Some(Interface::from_name(name.as_str()?)?),
        };
        let memory_pages = match &json["memory"] {
            Value::Null => None,
            memory => Some((memory["initial_pages"].as_u64()?, memory["maximum_pages"].as_u64())),
        };
        let (embedded_core, embedded_exports, embedded_imports) = match &json["embedded_core"] {
            Value::Null => (None, Vec::new(), Vec::new()),
            embedded => {
                let range: Range<usize> = number(&embedded["range"][0])?..number(&embedded["range"][1])?;
                (Some(range), texts(&embedded["exports"])?, texts(&embedded["imports"])?)
            }
        };
        Some(Self {
            is_component: json["format"].as_str()? == "component",
            interface,
            len_bytes: number(&json["len_bytes"])?,
            imports: texts(&json["imports"])?,
            exports: texts(&json["exports"])?,
            signature: Some(json["signature"].clone()).filter(|signature| !signature.is_null()),
            memory_pages,
            embedded_core,
            embedded_exports,
            embedded_imports,
            has_decode: json["has_decode"].as_bool()?,
            has_encode: json["has_encode"].as_bool()?,
        })
    }
}

fn number(json: &Value) -> Option<usize> {
    usize::try_from(json.as_u64()?).ok()
}

fn texts(json: &Value) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}
