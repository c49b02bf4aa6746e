//! What one end of a connection proves besides its certificate, and what it wants proven.

use std::collections::BTreeMap;
use std::sync::Arc;

use libipc::interface::transport::TransportError;
use libipc::name::ServiceName;
use relay::hello::{HelloError, KeyProof};

use crate::exporter::Exporter;
use crate::failure;
use crate::key::{Key, Prover};

/// Keys by their names.
pub(crate) type Keys = BTreeMap<String, Arc<Key>>;

/// What is proven on one connection.
pub(crate) enum Proving {
    /// Nothing but what certificates do.
    Nothing,
    /// We prove that we have this key, and want the same proven.
    Client { name: String, key: Arc<Key>, connection: Arc<Exporter>, service: String },
    /// Peers may prove one of these.
    Server { keys: Arc<Keys>, connection: Arc<Exporter>, proven: Option<Proven> },
}

/// A key that a peer has proven, and what we prove in answer.
pub(crate) struct Proven {
    name: String,
    answer: String,
}

impl Proving {
    pub(crate) fn client(name: String, key: Arc<Key>, connection: Arc<Exporter>) -> Self {
        Self::Client { name, key, connection, service: String::new() }
    }

    pub(crate) fn server(keys: Arc<Keys>, connection: Arc<Exporter>) -> Self {
        Self::Server { keys, connection, proven: None }
    }

    /// What goes into a hello for `wanted`.
    pub(crate) fn ask(&mut self, wanted: &str) -> Result<Option<KeyProof>, TransportError> {
        let Self::Client { name, key, connection, service } = self else { return Ok(None) };
        wanted.clone_into(service);
        let proof = key.prove(Prover::Client, wanted, connection);
        let proof = proof.ok_or_else(failure::no_key)?;
        Ok(Some(KeyProof { key: name.clone(), proof }))
    }

    /// Looks at the proof in the answer.
    pub(crate) fn answered(&self, proof: Option<&str>) -> Result<(), TransportError> {
        let Self::Client { key, connection, service, .. } = self else { return Ok(()) };
        let proof = proof.unwrap_or_default();
        if key.believes(proof, Prover::Server, service, connection) {
            Ok(())
        } else {
            Err(failure::no_key())
        }
    }

    /// Looks at the proof in a hello. A peer that claims none is one that has not proven any.
    pub(crate) fn asked(
        &mut self,
        claimed: Option<&KeyProof>,
        service: &ServiceName,
    ) -> Result<(), HelloError> {
        let Some(claimed) = claimed else { return Ok(()) };
        let Self::Server { keys, connection, proven } = self else {
            return Err(HelloError::NotProven);
        };
        // A name that is not known takes as long as a proof that is wrong.
        let stranger = Key::of_nobody().map_err(|_| HelloError::NotProven)?;
        let known = keys.get(&claimed.key);
        let key = known.map_or(&stranger, AsRef::as_ref);
        let is_proven = key.believes(&claimed.proof, Prover::Client, service.as_str(), connection);
        if !is_proven || known.is_none() {
            return Err(HelloError::NotProven);
        }
        let answer = key.prove(Prover::Server, service.as_str(), connection);
        let answer = answer.ok_or(HelloError::NotProven)?;
        *proven = Some(Proven { name: claimed.key.clone(), answer });
        Ok(())
    }

    /// The name of the key that the far end has proven.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Nothing | Self::Client { .. } => None,
            Self::Server { proven, .. } => proven.as_ref().map(|proven| proven.name.as_str()),
        }
    }

    /// What goes into the answer yes.
    pub(crate) fn yes(&self) -> Option<String> {
        match self {
            Self::Nothing | Self::Client { .. } => None,
            Self::Server { proven, .. } => proven.as_ref().map(|proven| proven.answer.clone()),
        }
    }
}
