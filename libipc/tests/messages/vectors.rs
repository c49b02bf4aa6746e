//! `tests/vectors/messages.json`: bytes that were never made by our own code.

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Vectors {
    pub(crate) frames: Vec<Vector>,
    pub(crate) length_frames: Vec<Vector>,
    pub(crate) packets: Vec<Vector>,
    pub(crate) hellos: Vec<Vector>,
    pub(crate) controls: Vec<Vector>,
    pub(crate) not_served: Vec<Vector>,
}

#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) name: String,
    parts: Vec<Part>,
    #[serde(default)]
    pub(crate) channel: u16,
    #[serde(default)]
    pub(crate) payload: String,
    #[serde(default)]
    pub(crate) channels: Vec<u16>,
    pub(crate) token: Option<String>,
    pub(crate) reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Hex(String),
    Text(String),
}

impl Vectors {
    pub(crate) fn read() -> Self {
        let text = include_str!("../../../tests/vectors/messages.json");
        serde_json::from_str(text).unwrap()
    }
}

/// The vector with exactly that name.
pub(crate) fn named<'a>(vectors: &'a [Vector], name: &str) -> &'a Vector {
    vectors.iter().find(|vector| vector.name == name).unwrap()
}

impl Vector {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let of = |part: &Part| match part {
            Part::Hex(hex) => {
                hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
            }
            Part::Text(text) => text.clone().into_bytes(),
        };
        self.parts.iter().flat_map(of).collect()
    }
}
